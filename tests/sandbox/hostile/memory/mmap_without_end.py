# expect: ok error died timeout
import mmap
maps = []
while True:
    maps.append(mmap.mmap(-1, 64 << 20))
    maps[-1].write(b'x' * (64 << 20))
