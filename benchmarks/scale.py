"""Many runs over many servers, in simulated time: `python -m benchmarks.scale`.

The loop, `run_many` and `Pool` are the real ones; servers, sandboxes and the clock are simulated, so an hour of 64
servers takes a minute or two of one core, and the same seed gives the same numbers. A server prefills and decodes in
steps, as vLLM does with chunked prefill, keeps prompts in a cache of so many tokens (the least recently used go first),
and may fail: then its calls break off, its cache is lost, and it is away for a while.

Rates are parameters, of the order of a 32B model on one large GPU, and not measured: read the ratios, not the hours.
Writes benchmarks/results/scale/<runs>x<servers>.json.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import heapq
import itertools
import json
import random
import selectors
import statistics
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from fastslow import Agent, Budget, Pool, run_many, tool
from fastslow.agent.engine.pool import MOVE_SECONDS
from fastslow.agent.engine.scripted import SCRIPTED
from fastslow.agent.engine.types import Delta, Reply, Request, Usage
from fastslow.agent.errors import EngineUnreachable
from fastslow.agent.modes import FAST, Mode
from fastslow.agent.transcript import Assistant, Message, ToolCall, User
from fastslow.tools import Tool

RESULTS = Path(__file__).parent / "results" / "scale"
SHARED = 1500  # tokens that all prompts begin with: system prompt and tools
BLOCK = 16  # tokens; a cache knows whole blocks
LOOK = 0.25  # seconds after which a server that only decodes looks for new prompts


@dataclass(frozen=True)
class Hardware:
    """One server. prefill: tokens/s. step, each: seconds of a decoding step, and more for each sequence in it. batch:
    sequences at once. chunk: prompt tokens of one step. cache: tokens. mtbf, repair: seconds from failure to failure
    (0: none), and until it answers again with an empty cache."""

    prefill: float = 8000.0
    step: float = 0.02
    each: float = 0.0002
    batch: int = 128
    chunk: int = 2048
    cache: int = 400_000
    mtbf: float = 0.0
    repair: float = 180.0


# --- simulated time ------------------------------------------------------------------------------------


class _Jump(selectors.DefaultSelector):
    """Where nothing is ready, the clock jumps to whatever is due next."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("nothing is due any more, and the simulation waits for something")
        self.now += timeout
        return super().select(0)


class SimulatedLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _Jump()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


# --- what the runs do ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Script:
    """What the model says in one run, and what tools give: tokens, and seconds. The last turn calls nothing."""

    task: int
    answers: tuple[int, ...]
    results: tuple[int, ...]
    waits: tuple[float, ...]

    @classmethod
    def of(cls, seed: int, number: int) -> Script:
        rng = random.Random(f"{seed} {number}")
        turns = rng.randint(3, 9)
        thoughts = rng.randint(600, 1500)
        return cls(
            rng.randint(300, 3000),
            (thoughts, *(rng.randint(60, 250) for _ in range(turns - 1))),
            tuple(rng.randint(100, 1500) for _ in range(turns - 1)),
            tuple(rng.expovariate(1 / 3) for _ in range(turns - 1)),
        )

    def prompt(self, turn: int) -> int:
        return SHARED + self.task + sum(self.answers[:turn]) + sum(self.results[:turn])

    @property
    def least(self) -> int:
        """Tokens to prefill where nothing but the shared ones is ever found in a cache twice: each result once."""
        return self.task + sum(self.results)


# --- a simulated server --------------------------------------------------------------------------------


@dataclass(eq=False)
class _Job:
    left: int
    answer: int
    done: asyncio.Future[None]


class Server:
    """An `Engine` of its own. scripts: of each run, by its task's text."""

    model, profile, context = "simulated", SCRIPTED, 131_072

    def __init__(self, name: str, hardware: Hardware, scripts: Callable[[str], Script]) -> None:
        self.name = name
        self.hardware = hardware
        self.scripts = scripts
        self.down = False
        self.prompts = self.cached = self.prefilled = self.failures = 0
        self.busy = 0.0
        self._cache: OrderedDict[str, int] = OrderedDict()
        self._stored = 0
        self._jobs: dict[_Job, None] = {}
        self._waiting: deque[_Job] = deque()
        self._decoding: list[tuple[int, int, _Job]] = []
        self._steps = 0
        self._numbers = itertools.count()
        self._work: asyncio.Task[None] | None = None

    async def connect(self) -> tuple[str, ...]:
        return ()

    async def aclose(self) -> None:
        return

    async def count(
        self, messages: Sequence[Message], tools: Sequence[Tool] = (), mode: Mode = FAST, session: str = ""
    ) -> int:
        return 0

    async def choose(self, request: Request, choices: Sequence[str]) -> Reply:
        return Reply()

    async def stream(self, request: Request) -> AsyncGenerator[Delta | Reply, None]:
        if self.down:
            await asyncio.sleep(MOVE_SECONDS)
            raise EngineUnreachable(f"no server answers at {self.name}")
        task = next(message.content for message in request.messages if isinstance(message, User))
        script, turn = self.scripts(task), sum(isinstance(message, Assistant) for message in request.messages)
        prompt, answer = script.prompt(turn), script.answers[turn]
        cached = self._find(task, prompt)
        self._keep(task, prompt)
        await self._carry_out(prompt - cached, answer)
        self._keep(task, prompt + answer)
        self.prompts += prompt
        self.cached += cached
        last = turn == len(script.results)
        calls = () if last else (ToolCall(f"{task} {turn}", "work", json.dumps({"seconds": script.waits[turn]})),)
        yield Reply("done" if last else "", calls=calls, usage=Usage(prompt, cached, 0, answer))

    def _find(self, task: str, prompt: int) -> int:
        """Tokens of a prompt that need no prefill."""
        shared = SHARED if "" in self._cache else 0
        return min(max(shared, self._cache.get(task, 0)), prompt - 1) // BLOCK * BLOCK

    def _keep(self, task: str, tokens: int) -> None:
        """Keep a prompt, and forget those that were not asked for the longest."""
        for name, size in (("", SHARED), (task, tokens)):
            self._stored += size - self._cache.get(name, 0)
            self._cache[name] = size
            self._cache.move_to_end(name)
        while self._stored > self.hardware.cache:
            self._stored -= self._cache.popitem(last=False)[1]

    async def _carry_out(self, prefill: int, answer: int) -> None:
        job = _Job(prefill, answer, asyncio.get_running_loop().create_future())
        self._jobs[job] = None
        self._waiting.append(job)
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._serve())
        await job.done

    async def _serve(self) -> None:
        """Step after step while there is something to do: a piece of a prompt, and a token of each answer."""
        hardware = self.hardware
        while self._waiting or self._decoding:
            begun, tokens = [], 0
            while self._waiting and tokens < hardware.chunk and len(self._decoding) + len(begun) < hardware.batch:
                job = self._waiting[0]
                part = min(job.left, hardware.chunk - tokens)
                job.left -= part
                tokens += part
                if not job.left:
                    begun.append(self._waiting.popleft())
            decode = hardware.step + hardware.each * len(self._decoding)
            steps = 1 if tokens else max(1, min(int(LOOK / decode), self._decoding[0][0] - self._steps))
            seconds = steps * decode + tokens / hardware.prefill
            await asyncio.sleep(seconds)
            self.busy += seconds
            self.prefilled += tokens
            self._steps += steps
            while self._decoding and self._decoding[0][0] <= self._steps:
                job = heapq.heappop(self._decoding)[2]
                self._jobs.pop(job)
                job.done.set_result(None)
            for job in begun:
                heapq.heappush(self._decoding, (self._steps + job.answer, next(self._numbers), job))

    async def fail_now_and_then(self, rng: random.Random) -> None:
        while True:
            await asyncio.sleep(rng.expovariate(1 / self.hardware.mtbf))
            self.failures, self.down = self.failures + 1, True
            if self._work:
                self._work.cancel()
            for job in self._jobs:
                job.done.set_exception(EngineUnreachable(f"the server at {self.name} broke off"))
            self._jobs.clear()
            self._waiting.clear()
            self._decoding.clear()
            self._cache.clear()
            self._stored = 0
            await asyncio.sleep(self.hardware.repair)
            self.down = False


# --- who goes where ------------------------------------------------------------------------------------


class LeastLoaded(Pool):
    """Each call for itself goes where the fewest are in flight."""

    def stream(self, request: Request) -> AsyncGenerator[Delta | Reply, None]:
        return super().stream(replace(request, session=""))


class RoundRobin(LeastLoaded):
    """Each call for itself goes to the next server."""

    async def _pick(self, session: str, failed: float | None) -> Any:
        server = min(self._up() or self._servers, key=lambda each: each.picked)
        server.picked = next(self._numbers)
        server.try_out()
        return server


class Hashed(Pool):
    """A run's id decides where it is, whatever the load; the next one of those that answer, as a hash ring does."""

    async def _pick(self, session: str, failed: float | None) -> Any:
        up = self._up() or self._servers
        server = max(up, key=lambda each: hashlib.sha256(f"{session} {self._servers.index(each)}".encode()).digest())
        server.try_out()
        return server


POLICIES: dict[str, type[Pool]] = {
    "a run stays (Pool)": Pool,
    "round robin, each call": RoundRobin,
    "hash of the run's id": Hashed,
    "least loaded, each call": LeastLoaded,
}


# --- one simulation ------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What came out. makespan, bound: seconds; bound is what the servers would need if each token was prefilled once
    and every batch was full. cached: share of prompt tokens. repeated: prefilled tokens over the least. p50, p95: of
    the runs' seconds. cpu: seconds of a core that the simulation itself took."""

    policy: str
    mtbf: float
    answered: int
    lost: int
    failures: int
    makespan: float
    bound: float
    cached: float
    repeated: float
    moved: int
    p50: float
    p95: float
    cpu: float
    calls: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


async def simulate(policy: str, runs: int, servers: int, each: int, seed: int, hardware: Hardware) -> Outcome:
    """Carry the runs out over so many servers. each: runs at once a server."""
    began = time.process_time()
    loop = asyncio.get_running_loop()
    scripts: dict[str, Script] = {}
    started: dict[int, float] = {}

    def script(task: str) -> Script:
        if task not in scripts:
            scripts[task] = Script.of(seed, int(task))
        return scripts[task]

    def tasks() -> Iterator[str]:
        for number in range(runs):
            started[number] = loop.time()
            yield str(number)

    @tool(effect="read")
    async def work(seconds: float) -> str:
        """Work in a sandbox.

        Args:
            seconds: for which it lasts.
        """
        await asyncio.sleep(seconds)
        return "ok"

    machines = [Server(f"http://server-{n}/v1", hardware, script) for n in range(servers)]
    broken = [
        asyncio.create_task(machine.fail_now_and_then(random.Random(f"{seed} fails {n}")))
        for n, machine in enumerate(machines)
        if hardware.mtbf
    ]
    agent = Agent(engine=POLICIES[policy](machines), tools=[work], sandbox=None, journal=None, budget=Budget(turns=99))
    exits: Counter[str] = Counter()
    seconds: list[float] = []
    moved = calls = 0
    async with aclosing(run_many(agent, tasks(), concurrency=each * servers)) as results:
        async for number, result in results:
            exits["" if result.answer == "done" else result.reason] += 1
            seconds.append(loop.time() - started.pop(number))
            told = [note for event in result.events for note in getattr(getattr(event, "reply", None), "notes", ())]
            moved += sum("could not be reached" in note for note in told)
            calls += sum(mode.turns for mode in result.usage.values())
    makespan = loop.time()
    for task in broken:
        task.cancel()
    await asyncio.gather(*broken, return_exceptions=True)
    answered = exits.pop("", 0)
    least = sum(one.least for one in scripts.values()) + SHARED * servers
    decoded, batch = sum(sum(one.answers) for one in scripts.values()), min(hardware.batch, each)
    bound = (least / hardware.prefill + decoded * (hardware.step / batch + hardware.each)) / servers
    p = statistics.quantiles(seconds, n=20)
    return Outcome(
        policy,
        hardware.mtbf,
        answered,
        runs - answered,
        sum(machine.failures for machine in machines),
        round(makespan, 1),
        round(bound, 1),
        round(sum(machine.cached for machine in machines) / sum(machine.prompts for machine in machines), 4),
        round(sum(machine.prefilled for machine in machines) / least, 3),
        moved,
        round(p[9], 1),
        round(p[18], 1),
        round(time.process_time() - began, 1),
        calls,
        dict(exits.most_common(3)),
    )


def carry_out(*arguments: Any) -> Outcome:
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(simulate(*arguments))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--servers", type=int, default=64)
    parser.add_argument("--each", type=int, default=24, help="runs at once a server")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mtbf", type=float, default=1800.0, help="of the simulation with failures, in seconds")
    arguments = parser.parse_args()
    shape = (arguments.runs, arguments.servers, arguments.each, arguments.seed)
    hardware = Hardware()
    wanted = [(policy, hardware) for policy in POLICIES]
    wanted.insert(1, ("a run stays (Pool)", replace(hardware, mtbf=arguments.mtbf)))
    RESULTS.mkdir(parents=True, exist_ok=True)
    told = {"shape": dict(zip(("runs", "servers", "each", "seed"), shape, strict=True)), "hardware": asdict(hardware)}
    outcomes = []
    for policy, machine in wanted:
        outcomes.append(asdict(carry_out(policy, *shape, machine)))
        print(json.dumps(outcomes[-1]), flush=True)
        text = json.dumps({**told, "outcomes": outcomes}, indent=1)
        (RESULTS / f"{arguments.runs}x{arguments.servers}.json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
