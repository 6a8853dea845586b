# expect: ok error died
import subprocess
subprocess.Popen(["bash", "-c", "f() { f | f & }; f"])
subprocess.Popen(["setsid", "bash", "-c", "f() { setsid sleep 1000 & f & }; f"])
