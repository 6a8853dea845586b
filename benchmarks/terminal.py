"""A picture of a run as the terminal shows it, for the pages.

    python -m benchmarks.terminal RUN PICTURE     draw what `fastslow show RUN` prints into an SVG

Nothing is drawn that `show` does not print.
"""

from __future__ import annotations

import argparse
from contextlib import closing
from io import StringIO
from pathlib import Path

from rich.console import Console

from fastslow import Journal
from fastslow.agent.surfaces.cli.live import RunView

WIDTH = 100


def draw(run: str, title: str) -> str:
    """The picture of a run of the journal."""
    console = Console(record=True, width=WIDTH, force_terminal=True, file=StringIO())
    with closing(Journal()) as journal:
        written = journal.read(journal.find(run))
    view = RunView(console)
    for event in [*written.events, *([written.finished] if written.finished else [])]:
        view.show(event)
    return console.export_svg(title=title)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--title", default="fastslow code")
    wanted = parser.parse_args()
    wanted.picture.write_text(draw(wanted.run, wanted.title), "utf-8")
