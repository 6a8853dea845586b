# expect: ok timeout
import subprocess
subprocess.Popen('trap "" INT TERM HUP; sleep 1000', shell=True, start_new_session=True)
while True: pass
