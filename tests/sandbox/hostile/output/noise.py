# expect: ok
import os
os.write(1, os.urandom(1_000_000))
