# expect: ok error died timeout
import os, struct, json
head = json.dumps({'kind': 'call', 'call': 1, 'name': 'rm'}).encode()
frame = struct.pack('>II', len(head), 2) + head + b'{}'
for _ in range(20_000):
    try:
        os.write(3, frame)
    except OSError:
        break
