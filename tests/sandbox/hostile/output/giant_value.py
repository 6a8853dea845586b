# expect: ok error died
'x' * 100_000_000
