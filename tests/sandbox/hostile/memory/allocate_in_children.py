# expect: ok died error timeout
import os
for _ in range(4):
    if os.fork() == 0:
        blocks = []
        while True:
            blocks.append(b'x' * (8 << 20))
os.wait()
