"""Measure the loop side by side with other frameworks', and write docs/loop-benchmarks.md.

    python -m benchmarks.loop [--rounds N] [--only NAME…] [--runs N] [--json FILE]

The first run makes an environment for each peer (2 minutes, 0.5 GB). A round takes about 2 minutes. With `--only`,
which bare httpx joins for the ratios, tables are shown and the page stays as it is.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks.environments import NotInstalled, alone
from benchmarks.loop import report
from benchmarks.loop.contender import (
    BARE,
    BARE_SSE,
    CONTENDERS,
    OURS,
    ROOT,
    Bench,
    Contender,
    MeasurementFailed,
    Sample,
    Server,
    server,
)

PAGE = ROOT / "docs/loop-benchmarks.md"
IMPORTS = 3  # of each a round, of which the median counts
FEW, MOST, EACH = 20, 100, 10  # turns: of one run, of a long one, of each of many


class Measured:
    """Samples by contender and key, one of each round, and what went wrong."""

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds
        self.samples: dict[str, dict[str, list[float | None]]] = {}
        self.notes: list[str] = []

    def take(self, number: int, bench: Bench, what: str, measurement: Callable[[], Sample]) -> None:
        try:
            sample = measurement()
        except MeasurementFailed as error:
            self.notes.append(f"{bench.name}, {what}, round {number + 1}: {error}")
            return
        mine = self.samples.setdefault(bench.name, {})
        for key, value in sample.items():
            mine.setdefault(key, [None] * self._rounds)[number] = value


def chosen(names: Sequence[str] | None) -> tuple[Contender, ...]:
    """Those that were named, and the floors that they are compared with."""
    if names is None:
        return CONTENDERS
    known = {contender.name for contender in CONTENDERS}
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"expected some of {', '.join(sorted(known))}; got {', '.join(unknown)}")
    return tuple(contender for contender in CONTENDERS if contender.name in {*names, BARE, BARE_SSE})


def prepare(contenders: Sequence[Contender], beside: Server, progress: Progress, notes: list[str]) -> list[Bench]:
    """Their environments. One that cannot be installed takes no part, and a note says why."""
    preparing = progress.add_task("preparing", total=None)
    benches = []
    for contender in contenders:
        progress.update(preparing, description=f"the environment of {contender.name}")
        try:
            bench = Bench(contender, contender.python(), beside)
            bench.imported(1)  # so that bytecode and files are cached
        except (NotInstalled, MeasurementFailed) as error:
            reason = next((line for line in str(error).splitlines() if line.startswith("ERROR")), str(error))
            notes.append(f"{contender.name} takes no part: {reason}")
        else:
            benches.append(bench)
    progress.remove_task(preparing)
    return benches


def measure(benches: Sequence[Bench], rounds: int, runs: int, measured: Measured, progress: Progress) -> None:
    measurements: dict[str, Callable[[Bench], Sample]] = {
        "import": lambda bench: bench.imported(IMPORTS),
        f"{FEW} turns": lambda bench: bench.turns(FEW),
        f"{MOST} turns": lambda bench: bench.turns(MOST),
        f"{runs} runs at once": lambda bench: bench.many(runs, EACH),
    }
    bar = progress.add_task("measuring", total=rounds * len(measurements) * len(benches))
    for number in range(rounds):
        first = number % len(benches)
        for what, measurement in measurements.items():
            for bench in [*benches[first:], *benches[:first]]:
                progress.update(bar, description=f"round {number + 1} of {rounds}: {what}, {bench.name}")
                measured.take(number, bench, what, lambda: measurement(bench))  # noqa: B023 - called at once
                progress.advance(bar)


def facts(load: float, benches: Sequence[Bench]) -> tuple[str, ...]:
    now = os.getloadavg()[0]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    versions = dict.fromkeys(
        f"{bench.name}: {', '.join(bench.versions)}" if len(bench.versions) > 1 else bench.versions[0]
        for bench in benches
        if bench.versions
    )
    return (
        f"{os.cpu_count()} processors ({_processor()}), {memory} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}",
        f"load average {load:.1f} before and {now:.1f} after (the benchmark itself makes about 1)",
        *versions,
        f"sniffio is {'' if find_spec('sniffio') else 'not '}installed beside httpx; without it, httpcore 1.0 searches "
        "all folders of modules for it several times a request: 0.2 ms of CPU when it was tried, of bare httpx's turn "
        "and of ours",
    )


def _processor() -> str:
    with open("/proc/cpuinfo") as file:
        return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "unknown")


def encoded(benches: Sequence[Bench]) -> tuple[Sample, ...]:
    ours = [bench for bench in benches if bench.name == OURS]
    return tuple(bench.encoded(turns) for bench in ours for turns in (FEW, MOST))


def run(rounds: int, runs: int, names: Sequence[str] | None, console: Console) -> report.Report:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    measured = Measured(rounds)
    with Progress(*columns, console=console, transient=True) as progress, server() as beside:
        benches = prepare(chosen(names), beside, progress, measured.notes)
        load = os.getloadavg()[0]
        measure(benches, rounds, runs, measured, progress)
        return report.Report(
            date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            facts=facts(load, benches),
            rounds=rounds,
            runs=runs,
            contenders=tuple(bench.name for bench in benches),
            samples=measured.samples,
            notes=tuple(measured.notes),
            encoded=encoded(benches),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=64, help="runs at once")
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    options = parser.parse_args()
    with alone():
        done = run(options.rounds, options.runs, options.only, Console(stderr=True))
    if options.json:
        options.json.write_text(done.to_json(), "utf-8")
    if options.only is None:
        PAGE.write_text(report.page(done), "utf-8")
    console = Console()
    for title, lines in report.tables(done):
        console.print(report.shown(title, lines), "")
    for note in done.notes:
        print(note)


if __name__ == "__main__":
    main()
