"""Run a suite's cases through other frameworks, a bare loop and ours, and write one table.

    python -m benchmarks.peers [--suite workflows|bfcl|edits|…] [--n N] [--seed S] [--only NAME,NAME…]
                               [--at-once K] [--seconds S] [--temperature T] [--base-url URL]
                               [--out FOLDER]

Needs the server of `fastslow up`, or one at --base-url, and where code runs the image of `fastslow sandbox build`. The
first run makes an environment for each peer (2 minutes, 0.5 GB). Every run is a line of rows.jsonl in the folder; the
same command goes on from there, and more cases or contenders only add lines. What peers print is in their .log files.

Of a case about a repository (`edits`, `quixbugs`, `polyglot-python`) a peer has one tool, `bash`, in the sandbox; the
repository's tests decide, whatever the run's end. Two contenders only mend repositories: mini-swe-agent, and a bare
loop that answers with whole files.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from benchmarks.environments import NotInstalled
from benchmarks.peers.contender import CONTENDERS, OURS, Contender, Worker
from benchmarks.peers.loopback import Loopback
from benchmarks.peers.measure import Bench, Limits
from fastslow import VLLM
from fastslow.agent.errors import ConfigurationError, EngineError
from fastslow.agent.evals.case import Case
from fastslow.agent.evals.report import page, picture, summaries
from fastslow.agent.evals.rows import Row, append, grouped, read
from fastslow.agent.evals.suites import SUITES
from fastslow.agent.managed_server import key_for, running_server
from fastslow.agent.surfaces.cli.text import clean, one_line
from fastslow.sandbox import DockerSandbox, SandboxError


def chosen(names: str | None, coding: bool = False) -> tuple[Contender, ...]:
    """Those that are named, of those that can take part. coding: whether the cases are about repositories."""
    able = [contender for contender in CONTENDERS if coding or not contender.coding]
    known = {contender.name.replace(", ", "-").replace(" ", "-"): contender for contender in able}
    wanted = names.split(",") if names else list(known)
    if unknown := [name for name in wanted if name not in known]:
        raise SystemExit(f"expected some of {','.join(known)}; got {','.join(unknown)}")
    return tuple(known[name] for name in known if name in wanted)


def workers(contenders: Sequence[Contender], out: Path) -> dict[str, Worker]:
    """Those that can be installed, by name; of the others a line says why they take no part."""
    made = {}
    for contender in contenders:
        try:
            log = out / f"{contender.place.replace('.py:', '-')}.log"
            made[contender.name] = Worker(contender, contender.python(), log)
        except NotInstalled as error:
            print(f"{contender.name} takes no part: {error}", file=sys.stderr)
    return made


async def measure(options: argparse.Namespace, cases: Sequence[Case], contenders: Sequence[Contender]) -> None:
    """A row for each case and contender that has none yet, `at_once` of them side by side."""
    path = options.out / "rows.jsonl"
    done = {(row.case, row.arm) for row in read(path)}
    makers = workers([each for each in contenders if each is not OURS], options.out)
    open_ = [
        (case, each)
        for case in cases
        for each in contenders
        if (case.id, each.name) not in done and (each is OURS or each.name in makers)
    ]
    engine, sandbox = VLLM(options.base_url), DockerSandbox()
    gate, count = asyncio.Semaphore(options.at_once), 0
    filled = {} if options.temperature is None else {"temperature": options.temperature}
    async with AsyncExitStack() as stack:
        for closing in (engine.aclose, sandbox.aclose, *(worker.close for worker in makers.values())):
            stack.push_async_callback(closing)
        await engine.connect()
        loopback = Loopback(options.base_url, key_for(options.base_url) or os.environ.get("FASTSLOW_API_KEY"), filled)
        bench = Bench(engine, sandbox, await stack.enter_async_context(loopback), options.seed, options.limits)

        async def one(case: Case, contender: Contender) -> None:
            nonlocal count
            async with gate:
                row = await bench.row(case, makers.get(contender.name))
            append(path, row)
            count += 1
            _print_row(row, f"{count}/{len(open_)}")

        async with asyncio.TaskGroup() as group:
            for case, contender in open_:
                group.create_task(one(case, contender))


def _print_row(row: Row, count: str) -> None:
    mark = "✓" if row.right else "✗"
    wrong = one_line(row.wrong[:500])[:100]
    text = f"{mark} {count:9} {row.arm:18} {row.case:28} {row.turns:2} turns {row.seconds:6.1f} s  {wrong}"
    print(text, file=sys.stderr, flush=True)


def report(rows: Sequence[Row], command: str, limits: Limits) -> str:
    """The page that `fastslow eval` writes, and what peers differ in besides."""
    lines = ["| | prompt tokens | no answer | version |", "|---|---|---|---|"]
    versions = {each.name: each.version.replace("==", " ") for each in CONTENDERS}
    for name, members in grouped(rows, "arm").items():
        prompt = sum(row.prompt for row in members) / len(members)
        silent = sum(row.exit != "answered" for row in members)
        lines.append(f"| {name} | {prompt:.0f} | {silent} of {len(members)} | {versions[name]} |")
    told = (
        "\n## Besides\n\nPrompt tokens are means of a run. A run has no answer where the contender raised, used up its "
        f"{limits.turns} requests, or took {limits.seconds:.0f} s.\n\n"
    )
    return page(rows, command) + told + "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=sorted(SUITES), default="workflows")
    parser.add_argument("--n", type=int, help="cases; without it, all")
    parser.add_argument("--seed", type=int, default=2, help="another than those that rules were tuned on")
    parser.add_argument("--only", metavar="NAME,NAME…")
    parser.add_argument("--at-once", type=int, default=1, metavar="K")
    parser.add_argument("--seconds", type=float, default=Limits.seconds, help="most of one run")
    parser.add_argument("--temperature", type=float, help="for requests that name none; the server's own without it")
    parser.add_argument("--base-url", metavar="URL", default=os.environ.get("FASTSLOW_BASE_URL"))
    parser.add_argument("--out", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    options.out = options.out or Path("fastslow-out", f"peers-{options.suite}-{options.seed}")
    options.limits = Limits(seconds=options.seconds)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.base_url is None:
        if (server := running_server()) is None:
            raise SystemExit("no model server is known: start one with `fastslow up`, or pass --base-url")
        options.base_url = server.base_url
    try:
        all_ = SUITES[options.suite](options.seed)
    except ConfigurationError as error:
        raise SystemExit(str(error)) from error
    cases = [case for case in all_ if not case.follow_ups][: options.n]  # one task each
    contenders = chosen(options.only, coding=any(case.repository for case in cases))
    stopped: BaseExceptionGroup[BaseException] | None = None
    try:
        asyncio.run(measure(options, cases, contenders))
    except* (KeyboardInterrupt, ConfigurationError, EngineError, SandboxError) as group:
        stopped = group
    if stopped:
        why = str(stopped.exceptions[0]) or "stopped"
        raise SystemExit(f"{why}; the same command goes on from {options.out / 'rows.jsonl'}")
    order = [contender.name for contender in CONTENDERS]
    ids = {case.id for case in cases}
    rows = [row for row in read(options.out / "rows.jsonl") if row.case in ids]
    rows.sort(key=lambda row: order.index(row.arm))
    text = report(rows, shlex.join(["python", "-m", "benchmarks.peers", *sys.argv[1:]]), options.limits)
    (options.out / "report.md").write_text(text, "utf-8")
    (options.out / "report.svg").write_text(picture(f"{options.suite}, {rows[0].model}", summaries(rows)), "utf-8")
    print(clean(text))


if __name__ == "__main__":
    main()
