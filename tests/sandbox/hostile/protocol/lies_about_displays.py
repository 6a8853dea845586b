# expect: ok error died timeout
import os, struct, json
head = json.dumps({'kind': 'display', 'mime': [['image/png', 1 << 40], ['text/x-evil', -1]]}).encode()
os.write(3, struct.pack('>II', len(head), 3) + head + b'abc')
