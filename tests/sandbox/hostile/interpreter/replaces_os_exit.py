# expect: ok error died timeout
import os, signal, json, socket
os._exit = lambda *_: None
os.getpid = lambda: 1
json.dumps = lambda *_, **__: 'x'
socket.socket.sendall = lambda *_: None
