"""Lines of a log."""


def logline(record):
    line = "%(time)s %(level)-7s %(message)s" % record
    if record.get("error"):
        line += " (%r)" % record["error"]
    return line
