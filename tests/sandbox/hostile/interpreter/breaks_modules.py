# expect: ok error died timeout
import sys
for name in list(sys.modules):
    sys.modules[name] = None
