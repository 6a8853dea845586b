# expect: ok
import os, socket
os.mkfifo('fifo')
socket.socket(socket.AF_UNIX).bind('sock')
