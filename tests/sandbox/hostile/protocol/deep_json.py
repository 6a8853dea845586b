# expect: ok error died timeout
import os, struct
body = b'[' * 500_000
for fd in range(3, 64):
    try:
        os.write(fd, struct.pack('>II', len(body), 0) + body)
    except OSError:
        pass
