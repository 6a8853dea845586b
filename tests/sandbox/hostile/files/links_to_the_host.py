# expect: ok
import os
for name, target in {'passwd': '/etc/passwd', 'root': '/', 'up': '../../..', 'proc': '/proc/self/mem'}.items():
    os.symlink(target, name)
