# expect: error died
with open('big', 'wb') as file:
    while True:
        file.write(b'x' * (4 << 20))
