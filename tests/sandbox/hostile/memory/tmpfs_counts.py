# expect: ok error died timeout
import itertools
for n in itertools.count():
    open(f'/tmp/{n}', 'wb').write(b'x' * (4 << 20))
