"""The lines of an invoice."""


def line(product, pieces, price):
    return "%s: %d x %.2f = %.2f" % (product, pieces, price, pieces * price)


def total(prices):
    return "total %.2f EUR" % sum(prices)
