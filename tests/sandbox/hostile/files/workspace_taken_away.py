# expect: ok error
import os, shutil
shutil.rmtree('/work', ignore_errors=True)
os.chmod('/work', 0)
