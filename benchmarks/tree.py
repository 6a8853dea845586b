"""A repository into the sandbox and a change out, beside `docker cp` and `git diff`: `python -m benchmarks.tree`.

Needs Docker, the sandbox image, git and tar. Makes a tree of 10,000 text files with 200 MB, then in turns:
- `fastslow`: `put_tree` into a session; later `changes`, `get` of each changed file, and a diff by difflib;
- `docker cp`: into a container of the same image, of its limits, and out again whole, then `git diff --no-index`. Its
  files lie in the container's own layer, since those that it copies into a tmpfs are not seen in there;
- `tar`: the same through `docker exec`, with `/work` a tmpfs as ours.

Prints medians; ratios are within one run, since seconds of different hours do not compare.
"""

from __future__ import annotations

import argparse
import asyncio
import difflib
import json
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.environments import alone
from benchmarks.workspace import Beat
from fastslow.sandbox import DockerSandbox, DockerSession, Limits, TreeFile, image_tag

LIMITS = Limits(disk=600 << 20, memory=2 << 30)
CHANGED = 100
CHANGE = f"find . -type f | sort | head -{CHANGED} | xargs sed -i '1s/.*/changed/'"
Found = dict[str, list[float]]


def make(root: Path, files: int, size: int) -> None:
    """Text of random words, 200 files in a folder, sizes from nothing to four times the mean, as in a repository."""
    chance = random.Random(0)
    words = [f"word{n}" for n in range(997)]
    line = [" ".join(chance.choices(words, k=10)) + "\n" for _ in range(5000)]
    sizes = [min(chance.expovariate(1), 4.0) for _ in range(files)]
    scale = size / sum(sizes)
    for n, share in enumerate(sizes):
        path = root / f"package{n // 2000}" / f"module{n // 200 % 10}" / f"file{n}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(chance.choices(line, k=int(share * scale / len(line[0])) + 1))
        path.write_text(text[: int(share * scale)] + "\n")


def tree(root: Path) -> Iterator[TreeFile]:
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            mode = path.stat().st_mode
            yield TreeFile(path.relative_to(root).as_posix(), path, "100755" if mode & 0o100 else "100644")


async def ours(root: Path, files: int, found: Found) -> None:
    sandbox, beat = DockerSandbox(LIMITS), Beat()
    beating = asyncio.create_task(beat.go_on())
    try:
        session = await sandbox.session()
        await session.run("1")  # it has loaded what it loads
        beat.on.set()
        await asyncio.sleep(0.01)
        beat.late = 0.0
        began, used = time.perf_counter(), time.process_time()
        put = await session.put_tree(tree(root))
        found["in: fastslow"].append(time.perf_counter() - began)
        found["in: host's processor, fastslow"].append(time.process_time() - used)
        await asyncio.sleep(0.002)
        found["in: longest stall, fastslow"].append(beat.late)
        beat.on.clear()
        assert len(put) == files
        await session.changes(session.listed)
        number, began, used = session.listed, time.perf_counter(), time.process_time()
        nothing = await session.changes(number)
        found["nothing changed: fastslow"].append(time.perf_counter() - began)
        found["nothing changed: host's processor, fastslow"].append(time.process_time() - used)
        assert not nothing.changed
        assert (await session.shell(CHANGE)).status == "ok"
        began = time.perf_counter()
        assert len(await diff(root, session, number)) == CHANGED
        found["out: fastslow"].append(time.perf_counter() - began)
    finally:
        beating.cancel()
        await sandbox.aclose()


async def diff(root: Path, session: DockerSession, number: int) -> list[str]:
    """A unified diff of each file that has changed since."""
    found = []
    for info in (await session.changes(number)).changed:
        before, after = (root / info.path).read_text(), (await session.get(info.path)).decode()
        names = f"a/{info.path}", f"b/{info.path}"
        found.append("".join(difflib.unified_diff(before.splitlines(True), after.splitlines(True), *names)))
    return found


def docker(root: Path, files: int, found: Found, name: str, mount: list[str], into: str, out: str) -> None:
    """into, out: commands of a shell, with the container, the tree and the folder for its copy to be put in."""
    limits = ["--memory", str(LIMITS.memory), "--cpus", str(LIMITS.cpus), "--network", "none"]
    box = said(["docker", "run", "--detach", "--rm", "--init", *limits, *mount, image_tag(), "sleep", "1000"]).strip()
    copy = Path(tempfile.mkdtemp(dir=root.parent))
    try:
        inside = ["docker", "exec", "--user", "0", box, "sh", "-c"]  # what `docker cp` brings is root's
        said([*inside, "mkdir -p /work"])
        began = time.perf_counter()
        said(["bash", "-o", "pipefail", "-c", into.format(box=box, root=root)])
        found[f"in: {name}"].append(time.perf_counter() - began)
        assert int(said([*inside, "find /work -type f | wc -l"])) == files, "what went in is not seen in there"
        said([*inside, f"cd /work && {CHANGE}"])
        began = time.perf_counter()
        said(["bash", "-o", "pipefail", "-c", out.format(box=box, copy=copy)])
        told = said(["git", "diff", "--no-index", "--no-color", str(root), str(copy)], ok=(1,))
        found[f"out: {name}"].append(time.perf_counter() - began)
        assert told.count("\n+changed\n") == CHANGED
    finally:
        said(["docker", "rm", "--force", box])
        shutil.rmtree(copy)


def said(command: list[str], ok: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in ok:
        raise SystemExit(f"`{' '.join(command)}` ended with {done.returncode}: {done.stderr[-1000:]}")
    return done.stdout


def measure(files: int, size: int, rounds: int) -> Found:
    """Seconds of each round, by what was measured."""
    found: Found = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "tree")
        make(root, files, size)
        tmpfs = ["--tmpfs", f"/work:size={LIMITS.disk},mode=1777"]
        turns: list[Callable[[], None]] = [
            lambda: asyncio.run(ours(root, files, found)),
            lambda: docker(
                *(root, files, found, "docker cp", []),
                "docker cp {root}/. {box}:/work",
                "docker cp {box}:/work/. {copy}",
            ),
            lambda: docker(
                *(root, files, found, "tar", tmpfs),
                "tar -C {root} -c . | docker exec --user 0 -i {box} tar -C /work --no-same-owner -x",
                "docker exec --user 0 {box} tar -C /work -c . | tar -C {copy} --no-same-owner -x",
            ),
        ]
        for number in range(rounds):
            for turn in range(len(turns)):
                turns[(number + turn) % len(turns)]()
    return dict(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--mb", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="F", help="write the seconds of all rounds there")
    options = parser.parse_args()
    with alone():
        found = measure(options.files, options.mb * 1_000_000, options.rounds)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{options.files:,} files, {options.mb} MB, {options.rounds} rounds, median (least to most)")
    for what, seconds in sorted(found.items()):
        part, _, name = what.partition(": ")
        beside = f"{part}: fastslow"
        ratio = statistics.median(seconds) / statistics.median(found[beside])
        times = "" if "fastslow" in name else f"   {ratio:.1f} times ours"
        print(f"{what:44} {statistics.median(seconds):8.3f} s ({min(seconds):.3f} to {max(seconds):.3f}){times}")


if __name__ == "__main__":
    main()
