# expect: ok error died timeout
import os
for fd in range(3, 64):
    try:
        os.write(fd, os.urandom(4096))
    except OSError:
        pass
