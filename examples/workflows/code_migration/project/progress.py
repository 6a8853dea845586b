"""How far something is."""


def progress(done, total):
    share = 100 * done // total
    return "%3d%% [%s]" % (share, ("#" * (share // 10)).ljust(10))


def left(seconds):
    return "%d min %02d s left" % (seconds // 60, seconds % 60)
