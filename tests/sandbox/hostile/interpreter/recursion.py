# expect: error died
def f(): return f()
f()
