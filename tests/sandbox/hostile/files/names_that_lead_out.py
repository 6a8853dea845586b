# expect: ok error
import os
for name in ('a\nb', '-rf', '\x1b[2J', 'x' * 250, '..hidden', 'é' * 100):
    open(name, 'w').write('x')
