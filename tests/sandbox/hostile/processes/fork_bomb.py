# expect: ok error died timeout
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
