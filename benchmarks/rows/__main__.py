"""Measure `fastslow map` side by side with other ways to ask about the rows of a table.

    python -m benchmarks.rows [--rows N] [--only NAME…] [--delay S…] [--json FILE]

Writes docs/workflow-benchmarks.md, unless the run is not a whole one. The first run makes an environment for each peer
(3 minutes, 1 GB); a run takes some 10 minutes.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks.environments import NotInstalled, alone
from benchmarks.rows import report
from benchmarks.rows.contender import CONTENDERS, FLOOR, ROOT, Contender, Server, server
from benchmarks.rows.measure import Measured, MeasurementFailed, again, killed, measure

PAGE = ROOT / "docs/workflow-benchmarks.md"
ROWS = 10_000
DELAYS = (0.0, 0.05)
KILLED = 1000  # rows of a command that is killed


def chosen(names: Sequence[str] | None) -> tuple[Contender, ...]:
    """Those that were named, and the floor that they are compared with."""
    known = {contender.name for contender in CONTENDERS}
    if unknown := [name for name in names or () if name not in known]:
        raise SystemExit(f"expected some of {', '.join(sorted(known))}; got {', '.join(unknown)}")
    return tuple(each for each in CONTENDERS if names is None or each.name in {*names, FLOOR})


def prepare(contenders: Sequence[Contender], notes: list[str]) -> dict[Contender, str]:
    """Their interpreters. One that cannot be installed takes no part, and a note says why."""
    pythons = {}
    for contender in contenders:
        try:
            pythons[contender] = contender.python()
        except NotInstalled as error:
            reason = next((line for line in str(error).splitlines() if line.startswith("ERROR")), str(error))
            notes.append(f"{contender.name} takes no part: {reason}")
    return pythons


def one(contender: Contender, python: str, beside: Server, delay: float, rows: int, folder: Path) -> Measured:
    """All that is measured of a contender; what it does with what is done already, beside the fast server alone."""
    rows = min(rows, contender.most or rows)
    measured = measure(contender, python, beside, delay, rows, folder / "whole")
    if delay:
        return measured
    seconds, cpu = again(contender, python, beside, rows, folder / "whole") or (None, None)
    left = killed(contender, python, beside, min(rows, KILLED), folder / "killed")
    return replace(measured, again=seconds, again_cpu=cpu, killed=left)


def run(rows: int, delays: Sequence[float], names: Sequence[str] | None, console: Console) -> report.Report:
    notes: list[str] = []
    pythons, measured, before = prepare(chosen(names), notes), [], os.getloadavg()[0]
    for delay in delays:
        with server(delay) as beside:
            for contender, python in pythons.items():
                console.print(f"{contender.name}, {1e3 * delay:.0f} ms", style="dim")
                with tempfile.TemporaryDirectory(prefix="rows-", ignore_cleanup_errors=True) as folder:
                    try:
                        measured.append(one(contender, python, beside, delay, rows, Path(folder)))
                    except MeasurementFailed as error:
                        notes.append(f"{contender.name}, {1e3 * delay:.0f} ms: {error}")
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return report.Report(now, facts(before, pythons), tuple(measured), tuple(notes))


def facts(load: float, pythons: dict[Contender, str]) -> tuple[str, ...]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    return (
        f"{os.cpu_count()} processors, {memory} GiB, Linux {platform.release()}, Python {platform.python_version()}",
        f"load average {load:.1f} before and {os.getloadavg()[0]:.1f} after (the benchmark itself makes 1 to 2)",
        *(versions(contender, python) for contender, python in pythons.items() if contender.distributions),
    )


def versions(contender: Contender, python: str) -> str:
    program = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    command = [python, "-P", "-c", program, *contender.distributions]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return ", ".join(f"{name} {number}" for name, number in zip(contender.distributions, found, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--delay", type=float, nargs="+", default=DELAYS, metavar="S", help="of the server, seconds")
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured there")
    options = parser.parse_args()
    with alone():
        done = run(options.rows, options.delay, options.only, Console(stderr=True))
    if options.json:
        options.json.write_text(done.to_json(), "utf-8")
    if options.only is None and options.rows == ROWS and tuple(options.delay) == DELAYS:
        PAGE.write_text(report.page(done), "utf-8")
    console = Console()
    for title, lines in report.tables(done):
        console.print(report.shown(title, lines), "")
    for note in done.notes:
        print(note)


if __name__ == "__main__":
    main()
