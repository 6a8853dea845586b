# expect: ok error died timeout
eval('(' * 100_000)
