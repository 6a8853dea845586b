# expect: ok error died timeout
import itertools
for n in itertools.count():
    open(f'f{n}', 'w').close()
