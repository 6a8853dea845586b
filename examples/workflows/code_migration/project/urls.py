"""Addresses of servers."""


def url(host, port=443, path="", secure=True):
    scheme = "https" if secure else "http"
    return "%s://%s:%d/%s" % (scheme, host, port, path.lstrip("/"))
