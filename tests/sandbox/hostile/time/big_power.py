# expect: timeout died
9 ** 9 ** 9
