# expect: ok error
import os
for fd in range(0, 3):
    os.close(fd)
print('x')
