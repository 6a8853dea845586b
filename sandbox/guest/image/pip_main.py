"""What `pip` and `python -m pip` run in the image: pip, and when it fails for want of an index, what to do instead."""

import os
import sys

if sys.path[0] in ("", os.getcwd()):  # as pip's own does: the workspace's modules are none of pip's
    sys.path.pop(0)

FETCHES = {"install", "download", "wheel", "index"}
MORE = (
    'Packages come with the image: `fastslow sandbox build --packages "NAME"`, run by the user outside of the sandbox'
)
NO_NETWORK = f"""
This sandbox has no network, so pip could not ask a package index. Use what is installed (`pip list`).
{MORE}, or the user allows the index (`--allow HOST:443`).
"""
SOME_NETWORK = f"""
If pip could not reach its index: this sandbox connects only to the hosts that the user allowed (`--allow HOST:443`).
{MORE}.
"""


def main():
    networked = "HTTPS_PROXY" in os.environ
    if not networked:
        os.environ["PIP_NO_INDEX"] = "1"  # fail at once, without five retries
    try:  # pip 26 and later; it imports nothing more once it has installed something
        from pip._internal.cli.main import cli
    except ImportError:
        from pip._internal.cli.main import main as cli
    status = cli()
    if status == 1 and FETCHES & set(sys.argv[1:]):
        sys.stderr.write(SOME_NETWORK if networked else NO_NETWORK)
    return status


if __name__ == "__main__":
    sys.exit(main())
