# expect: ok error
open('sparse', 'wb').truncate(1 << 50)
