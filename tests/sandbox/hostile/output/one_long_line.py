# expect: ok
print('x' * 60_000_000)
