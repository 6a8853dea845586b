# expect: ok error died timeout
import socket, os, struct, json
for fd in range(3, 64):
    try:
        s = socket.socket(fileno=os.dup(fd))
    except OSError:
        continue
    head = json.dumps({'kind': 'done', 'id': 1, 'status': 'ok', 'value': 'forged', 'error': '', 'exit_code': 0, 'memory': 1, 'threads': 0}).encode()
    try:
        s.send(struct.pack('>II', len(head), 0) + head)
    except OSError:
        pass
