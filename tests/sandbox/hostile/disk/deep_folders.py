# expect: ok error died timeout
import os
for n in range(2000):
    os.mkdir('d')
    os.chdir('d')
