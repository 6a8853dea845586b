# expect: ok error died timeout
import os
os.closerange(0, 1024)
