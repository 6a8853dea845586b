# expect: ok
print('\x1b]0;owned\x07\x1b[2J\x1b[31m\x9b5A' * 100)
