"""The entry point of the command `fastslow`: an editor is greeted before all else is imported."""

from __future__ import annotations

import sys
from importlib.util import find_spec


def main() -> None:
    """Answer an editor's first line at once, which takes no more than Python itself; then do what is asked for."""
    if sys.argv[1:2] == ["acp"] and not {"-h", "--help"} & set(sys.argv) and find_spec("acp"):
        from fastslow.agent.surfaces.acp.greeting import greet

        greet()
    from fastslow.agent.surfaces.cli.main import main

    main()


if __name__ == "__main__":
    main()
