# expect: timeout died ok
import os, signal
os.kill(os.getpid(), signal.SIGSTOP)
