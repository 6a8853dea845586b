# expect: ok died error
import os, signal
os.kill(1, signal.SIGKILL)
os.kill(1, signal.SIGTERM)
