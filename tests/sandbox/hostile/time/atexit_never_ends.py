# expect: ok timeout died error
import atexit, time
atexit.register(time.sleep, 1000)
raise SystemExit
