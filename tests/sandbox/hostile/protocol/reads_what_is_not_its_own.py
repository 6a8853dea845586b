# expect: ok error died timeout
import os
for fd in range(3, 64):
    try:
        os.set_blocking(fd, False)
        os.read(fd, 1 << 20)
    except OSError:
        pass
