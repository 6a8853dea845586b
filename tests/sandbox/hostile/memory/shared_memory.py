# expect: ok error died timeout
import itertools
for n in itertools.count():
    open(f'/dev/shm/{n}', 'wb').write(b'x' * (4 << 20))
