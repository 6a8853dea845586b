"""A table in a terminal."""


def row(name, amount, note=""):
    return "%-10s|%8.2f|%s" % (name, amount, note)


def rule(width=20):
    return "%s" % ("-" * width)
