"""Measure the sandbox side by side with other libraries', and write docs/sandbox-benchmarks.md.

    python -m benchmarks.sandbox [--rounds N] [--peers all|none|NAME…] [--json]

The first run makes an environment for each peer and one image (3 minutes, 1.5 GB). A round takes about 40 s of ours and
90 s of all peers, who take part in every second one. As root, since memory and processes are read from the host.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import os
import platform
import sys
from collections.abc import Callable, Sequence

from docker import DockerClient
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks.environments import alone, environment
from benchmarks.sandbox import prepare, report
from benchmarks.sandbox.contender import PEERS, ROOT, Contender, Peer
from benchmarks.sandbox.floors import floors
from benchmarks.sandbox.ours import measure_ours
from benchmarks.sandbox.shared import GIVE_UP, Measured, measure_contender
from fastslow.sandbox import DockerFacts, docker_client, docker_facts

PAGE = ROOT / "docs/sandbox-benchmarks.md"
PEERS_EVERY = 2  # rounds; theirs take longer


def chosen(names: Sequence[str]) -> tuple[Peer, ...]:
    if list(names) == ["all"]:
        return PEERS
    if list(names) == ["none"]:
        return ()
    known = {peer.name.lower(): peer for peer in PEERS}
    if unknown := [name for name in names if name.lower() not in known]:
        raise SystemExit(f"expected all, none, or some of {', '.join(known)}; got {' '.join(unknown)}")
    return tuple(known[name.lower()] for name in names)


def measure(
    client: DockerClient, image: str, ours: Contender, peers: Sequence[Contender], rounds: int, progress: Progress
) -> Measured:
    measured = Measured()
    total = rounds * 3 + len(range(0, rounds, PEERS_EVERY)) * len(peers)
    bar = progress.add_task("measuring", total=total)
    for number in range(rounds):
        turns: list[tuple[str, Callable[[], None]]] = [
            ("floors", lambda: floors(image, measured)),
            ("ours alone", lambda: asyncio.run(measure_ours(client, image, measured))),
        ]
        for contender in [ours, *(peers if number % PEERS_EVERY == 0 else [])]:
            turns.append((contender.name, lambda each=contender: measure_contender(each, client, image, measured)))  # type: ignore[misc]
        first = number % len(turns)
        for name, turn in [*turns[first:], *turns[:first]]:
            progress.update(bar, description=f"round {number + 1} of {rounds}: {name}")
            turn()
            progress.advance(bar)
    return measured


def facts(docker: DockerFacts, load: float, contenders: Sequence[Contender]) -> tuple[str, ...]:
    now = os.getloadavg()[0]
    versions = [version for contender in contenders for version in contender.versions]
    return (
        f"{os.cpu_count()} processors ({_processor()}), {docker.memory >> 30} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}",
        f"Docker {docker.version}, {docker.storage_driver}, cgroup v{docker.cgroup}",
        f"load average {load:.1f} before and {now:.1f} after (the benchmark itself makes about 1)",
        ", ".join(versions),
    )


def _processor() -> str:
    with open("/proc/cpuinfo") as file:
        return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "unknown")


def run(rounds: int, names: Sequence[str], console: Console) -> report.Report:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    client = docker_client()
    contenders: list[Contender] = []
    with Progress(*columns, console=console, transient=True) as progress:
        try:
            preparing = progress.add_task("preparing", total=None)
            image = asyncio.run(prepare.image(client, lambda what, _: progress.update(preparing, description=what)))
            contenders.append(Contender(report.OURS, "fastslow", sys.executable, ("fastslow",)))
            for peer in chosen(names):
                progress.update(preparing, description=f"The environment of {peer.name}")
                contenders.append(
                    Contender(peer.name, peer.file, environment(peer.file, peer.requirements), (peer.distribution,))
                )
            progress.remove_task(preparing)
            load = os.getloadavg()[0]
            measured = measure(client, image, contenders[0], contenders[1:], rounds, progress)
            return report.Report(
                date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
                facts=facts(docker_facts(client), load, contenders),
                gave_up=GIVE_UP,
                contenders=tuple(contender.name for contender in contenders),
                series=measured.series(),
            )
        finally:
            for contender in contenders:
                contender.close()
            client.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--peers", nargs="+", default=["all"], metavar="NAME")
    parser.add_argument("--json", action="store_true", help="print every sample as JSON")
    options = parser.parse_args()
    with alone():
        done = run(options.rounds, options.peers, Console(stderr=True))
    PAGE.write_text(report.page(done), "utf-8")
    if options.json:
        print(done.to_json())
    else:
        console = Console()
        if len(done.contenders) > 1:
            console.print(report.table(report.side_by_side(done)), "")
        console.print(report.table(report.against_goals(done)))
        for note in report.notes(done):
            print(note)


if __name__ == "__main__":
    main()
