# expect: ok error died timeout
import os
while True:
    try:
        if os.fork() == 0:
            os.setsid()
    except OSError:
        pass
