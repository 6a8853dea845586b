# expect: ok error died timeout
import os, struct
for fd in range(3, 64):
    try:
        os.write(fd, struct.pack('>II', 0xFFFFFFFF, 0xFFFFFFFF))
    except OSError:
        pass
