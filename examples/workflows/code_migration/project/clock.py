"""Times of a day."""


def clock(minutes):
    return "%02d:%02d" % divmod(minutes % 1440, 60)


def span(start, end):
    return "%s to %s" % (clock(start), clock(end))
