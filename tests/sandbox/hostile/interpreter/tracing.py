# expect: ok error died timeout
import sys, threading
sys.settrace(lambda *a: 1 / 0)
sys.setprofile(lambda *a: None)
