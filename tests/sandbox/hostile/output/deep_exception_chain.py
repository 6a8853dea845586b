# expect: error died
def fail(n):
    try:
        raise ValueError(n)
    except ValueError:
        if n:
            fail(n - 1)
        raise KeyError(n)
fail(300)
