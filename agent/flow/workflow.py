"""A workflow: one async function of Python whose every call through `wf` is a step that is remembered by its content.

async def main(wf: Workflow, invoices: list[Path], month: str) -> Report:
    read = await wf.map(lambda path: wf.agent("Read this invoice", files=[path], output=Invoice), invoices)
    return await wf.step(report, month, read)
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec, TypeAlias, TypeVar

from fastslow.agent.agent import Agent
from fastslow.agent.budget import Budget
from fastslow.agent.child import Parent
from fastslow.agent.errors import ConfigurationError, EngineError, JournalError
from fastslow.agent.events import CallStarted, Exit, RunFinished, TurnStarted
from fastslow.agent.flow.asking import asked_agent, form_of, told_tool
from fastslow.agent.flow.items import OverItems
from fastslow.agent.flow.keys import received
from fastslow.agent.flow.memory import Memory, Outside, StepFailed, Waiting, exit_of
from fastslow.agent.flow.progress import Logged, OnEvent, StepMoved
from fastslow.agent.flow.spending import FlowBudget, Spending
from fastslow.agent.flow.values import Kept, returned
from fastslow.agent.modes import Think
from fastslow.agent.options import RunOptions
from fastslow.agent.outbox import Outbox
from fastslow.agent.record.jobs import Job, StepResult
from fastslow.agent.texts import check_text
from fastslow.agent.tree.tree import Tree
from fastslow.sandbox import SandboxError
from fastslow.tools import Tool, Toolset, clip
from fastslow.tools.builtin import BUILTIN
from fastslow.tools.foreign import described, in_thread

T = TypeVar("T")
R = TypeVar("R")
Effect: TypeAlias = Literal["read", "outside"]
OnError: TypeAlias = Literal["keep", "raise"]

AT_ONCE = 8  # items of a map
MAP, SAVED = "map", "saved"  # kinds of steps: what holds the items of one, and a file that was written
SHOWN = 20_000  # characters of what a check printed
CHECK_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Answered:
    """What an agent's step came to. output: of the type that was asked for; the answer where none was. files: what it
    made, on this machine. changes: the run whose changes to a folder can be applied, `""` where it worked on none."""

    output: Any
    answer: str
    files: tuple[Path, ...]
    run: str
    changes: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found. output: what it printed."""

    ok: bool
    exit_code: int
    output: str


@dataclass(frozen=True, slots=True)
class Setting:
    """What a flow is carried out with. agent: the one that every agent step is like. out: folder for what is made; by
    default `fastslow-out/<flow>`. at_once: agents that go side by side in all of the flow. ready: called before a step
    that needs the model's server (`"server"`) or a sandbox (`"sandbox"`)."""

    agent: Agent
    budget: Budget
    out: Path | None = None
    at_once: int = 32
    ready: Callable[[Literal["server", "sandbox"]], Awaitable[None]] | None = None


P = ParamSpec("P")


def _noted(
    method: Callable[Concatenate[Workflow, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Workflow, P], Coroutine[Any, Any, R]]:
    """Note the calls of a method, as one without `await` does nothing."""

    @wraps(method)
    def called(self: Workflow, /, *arguments: P.args, **options: P.kwargs) -> Coroutine[Any, Any, R]:
        call = method(self, *arguments, **options)
        self._calls.append(call)
        return call

    return called


class Workflow:
    """What a flow's `main` gets as its first argument. Every step is remembered under a key that its content makes;
    what is there is not done again. See `docs/flow.md`."""

    def __init__(self, job: Job, setting: Setting, on_event: OnEvent = lambda event: None) -> None:
        self.memory = Memory(job, on_event)
        self.spending = Spending(job, setting.budget)
        self.saved: list[Path] = []
        self._job, self._setting, self._say = job, setting, on_event
        self._at_once = asyncio.Semaphore(setting.at_once)
        self._under_way, self._none_under_way = 0, asyncio.Event()
        self._calls: list[Coroutine[Any, Any, Any]] = []
        self._made_ready: dict[str, asyncio.Task[None]] = {}

    # --- steps -----------------------------------------------------------------------------------

    @_noted
    async def agent(
        self,
        prompt: str,
        *,
        files: Iterable[str | Path] = (),
        output: Any = None,
        tools: Iterable[Tool | Toolset | Callable[..., Any]] = (),
        builtin: Iterable[str] = BUILTIN,
        think: Think | None = None,
        budget: Budget | None = None,
        check: str = "",
        tree: Tree | None = None,
        name: str = "",
    ) -> Any:
        """Have an agent do something; returns its answer, of the type `output` where one is given.

        The arguments are those of `Agent` and `RunOptions`. name: for people; by default the prompt's beginning. Raises
        StepFailed where it is not answered.
        """
        answered = await self.run(
            prompt,
            files=files,
            output=output,
            tools=tools,
            builtin=builtin,
            think=think,
            budget=budget,
            check=check,
            tree=tree,
            name=name,
        )
        return answered.output

    @_noted
    async def run(
        self,
        prompt: str,
        *,
        files: Iterable[str | Path] = (),
        output: Any = None,
        tools: Iterable[Tool | Toolset | Callable[..., Any]] = (),
        builtin: Iterable[str] = BUILTIN,
        think: Think | None = None,
        budget: Budget | None = None,
        check: str = "",
        tree: Tree | None = None,
        name: str = "",
    ) -> Answered:
        """`agent`, with all that the run leaves: the files that it made, and what it changed of a folder."""
        check_text("the prompt", prompt)
        paths, form = [Path(path) for path in files], form_of(output)
        agent = asked_agent(self._setting.agent, tuple(tools), tuple(builtin), paths, check, tree)
        name = name or clip(prompt.split("\n")[0], 60)
        async with self._active():
            await self._ready("server", agent)
            if agent.sandbox:
                await self._ready("sandbox", agent)
            content = {
                "prompt": prompt,
                "files": paths,
                "output": form.schema if form else None,
                "model": [agent.engine.model, agent.engine.profile.name],
                "think": agent.think if think is None else think,
                "tools": [*map(told_tool, agent.tools.tools), *map(told_tool, agent.toolsets)],
                "builtin": list(builtin) if agent.sandbox else [],
                "check": check,
                "tree": Kept.folder(tree) if tree else None,
            }
            key = self.memory.claim(received("agent", name, content))
            options = RunOptions(
                files=paths,
                output=output,
                check=check,
                out=self._out / f"step-{key[:8]}",
                think=think,
                budget=budget,
                key=f"flow/{self._job.id}/{key}",
                tree=tree,
            )
            work = partial(self._ask_agent, agent, prompt, options, key, name)
            result = self._ended(await self.memory.carry(key, name, work))
        value = Kept(form.adapter if form else None).value(result.output)
        told = form.text(value) if form else str(result.output)
        files_made = tuple(map(Path, result.files))
        return Answered(value, told, files_made, result.run, result.run if tree else "")

    @_noted
    async def step(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        retries: int = 0,
        effect: Effect = "outside",
        name: str = "",
    ) -> Any:
        """Call plain code, which is remembered; a function that is not async is called in a thread of its own.

        What it returns comes as its return annotation says, or else as JSON. retries: how often it is called again
        where it raises. effect: `"outside"` for what reaches the world: where that was cut off in its midst, the flow
        asks whether it has happened; `"read"` is simply done again. Raises StepFailed where it raised.
        """
        _check_argument("effect", effect, effect in ("read", "outside"), "'read' or 'outside'")
        _check_argument("retries", retries, retries >= 0, "0 or more")
        name = name or name_of(function, "step")
        content = {"function": function, "arguments": arguments}
        got, kept = received("step", name, content), returned(function)
        outside = Outside(kept, got) if effect == "outside" else None
        key = self.memory.claim(got, outside=outside is not None)
        async with self._active():
            work = partial(_called, kept, key, name, function, arguments, retries)
            result = await self.memory.carry(key, name, work, outside=outside)
        return kept.value(self._ended(result).output)

    @_noted
    async def check(self, command: str, files: Iterable[str | Path] = ()) -> Checked:
        """Run a command in a sandbox that has the files, and say what came of it. Raises StepFailed where it could not
        be run."""
        paths = [Path(path) for path in files]
        name = f"check: {clip(command, 60)}"
        key = self.memory.claim(received("check", name, {"command": command, "files": paths}))
        async with self._active():
            await self._ready("sandbox", self._setting.agent)
            work = partial(self._check, key, name, command, paths)
            result = self._ended(await self.memory.carry(key, name, work))
        return Checked(**result.output)

    @_noted
    async def ask(self, question: str, choices: Sequence[str] = ("yes", "no"), *, about: Any = None) -> str:
        """What a person answers. Until then the flow ends here, and goes on with `fastslow flow answer`.

        about: what the question is about, such as the file that is to be sent. Where that changes, it is asked anew.
        """
        texts = not isinstance(choices, str) and all(isinstance(one, str) and one.strip() for one in choices)
        fits = texts and 0 < len(choices) == len({*choices})
        _check_argument("choices", choices, fits, "texts that differ, such as ['yes', 'no']")
        key = self.memory.claim(received("ask", question, {"choices": tuple(choices), "about": about}))
        return self.memory.question(key, question, choices)

    # --- patterns --------------------------------------------------------------------------------

    @_noted
    async def map(
        self,
        function: Callable[[T], Awaitable[R]],
        items: Iterable[T],
        *,
        at_once: int = AT_ONCE,
        on_error: OnError = "keep",
    ) -> list[Any]:
        """Await a function of each item, some at once; returns what they came to, in the order of the items.

        on_error: `"keep"` has a StepFailed in the place of what failed, `"raise"` raises the first of them in order,
        once all that was begun has ended. An item that waits for an answer keeps no other from its end.
        """
        _check_argument("at_once", at_once, at_once > 0, "1 or more")
        _check_argument("on_error", on_error, on_error in ("keep", "raise"), "'keep' or 'raise'")
        name = name_of(function, "map")
        key, listed = self.memory.claim(received("map", name, {})), list(items)
        run = OverItems(name, key, function, asyncio.Semaphore(at_once), keeps=on_error == "keep")
        values: list[Any] = []

        async def all_of_them() -> StepResult:
            values.extend(await run.all(listed))
            return StepResult(key, name, Exit.ANSWERED, {"items": len(listed)}, failure=MAP)

        await self.memory.group(key, name, all_of_them)
        for value in values:
            if isinstance(value, Waiting):
                raise value
        for value in values:
            if on_error == "raise" and isinstance(value, StepFailed):
                raise value
        return values

    @_noted
    async def until(
        self,
        make: Callable[[Any], Awaitable[T]],
        judge: Callable[[T], bool | tuple[bool, Any] | Awaitable[bool | tuple[bool, Any]]],
        *,
        tries: int = 3,
    ) -> T:
        """Make something until it is judged good. make: gets what the judge said of the last one, None at first. judge:
        returns whether it is good, and, if it likes, what is to be better. Raises StepFailed behind the last try."""
        _check_argument("tries", tries, tries > 0, "1 or more")
        said: Any = None
        for _ in range(tries):
            value = await make(said)
            verdict = judge(value)
            verdict = await verdict if inspect.isawaitable(verdict) else verdict
            good, said = verdict if isinstance(verdict, tuple) else (verdict, None)
            if good:
                return value
        reason = f"not good after {tries} tries" + (f": {said}" if said else "")
        raise StepFailed(StepResult("", name_of(make, "until"), Exit.FAILED, reason=clip(reason, 2000)))

    # --- beside the steps ------------------------------------------------------------------------

    def log(self, text: str) -> None:
        """Tell people something."""
        self._say(Logged(text))

    def save(self, name: str, content: str | bytes) -> Path:
        """Write a file into the flow's folder, and say where it is. One that the flow wrote under the name before gives
        way to it; no other does. Raises ConfigurationError, ValueError and OSError where it cannot be."""
        inside = bool(Path(name).parts) and not Path(name).is_absolute()
        _check_argument("name", name, inside, "a path below the flow's folder, such as 'report/index.html'")
        key = f"save-{name}"
        known = self._job.result(key)
        versions: list[str] = known.output if known else []
        out = self._setting.out
        box = Outbox(out or Path(), "" if out else f"fastslow-out/{self._job.id}", lambda _: versions)
        data = content.encode() if isinstance(content, str) else content
        with box.bring(name) as arrival:
            arrival.write(data)
            path, _ = arrival.settle()
        digest = arrival.digest
        if digest not in versions:
            self._job.end(StepResult(key, name, Exit.ANSWERED, [*versions, digest], failure=SAVED))
        self.saved.append(path)
        return path

    @property
    def budget(self) -> FlowBudget:
        """What the whole flow may spend, and has spent, earlier lives of it included."""
        return self.spending.budget

    # --- how they are carried out ----------------------------------------------------------------

    @property
    def _out(self) -> Path:
        return self._setting.out or Path("fastslow-out") / self._job.id

    async def quiet(self) -> None:
        """Wait until no step is under way."""
        await asyncio.sleep(0)  # a task that was just made begins its step
        while self._under_way:
            self._none_under_way.clear()
            await self._none_under_way.wait()
            await asyncio.sleep(0)  # whoever waited for the last of them may begin another

    def not_awaited(self) -> list[str]:
        """What was called without `await`: their names, such as `wf.step`."""
        forgotten = [call for call in self._calls if inspect.getcoroutinestate(call) == inspect.CORO_CREATED]
        for call in forgotten:
            call.close()
        return [f"wf.{call.__name__}" for call in forgotten]  # type: ignore[attr-defined]

    @asynccontextmanager
    async def _active(self) -> AsyncIterator[None]:
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._none_under_way.set()

    async def _ready(self, what: Literal["server", "sandbox"], agent: Agent) -> None:
        """Once for all steps; where it fails, for each of them."""
        if what not in self._made_ready:
            self._made_ready[what] = asyncio.create_task(self._make_ready(what, agent))
        try:
            await asyncio.shield(self._made_ready[what])
        except (EngineError, SandboxError) as error:
            self.memory.ended.append(StepResult("", f"the {what}", exit_of(error), reason=described(error)))
            raise

    async def _make_ready(self, what: Literal["server", "sandbox"], agent: Agent) -> None:
        if self._setting.ready:
            await self._setting.ready(what)
        if what == "server":
            await agent.engine.connect()

    async def _ask_agent(self, agent: Agent, prompt: str, options: RunOptions, key: str, name: str) -> StepResult:
        parent = Parent(self._job.id, key, self.spending.of(key), agent.ask, True)
        form = form_of(options.output)
        try:
            async with self._at_once, aclosing(agent.stream_within(prompt, options, parent)) as events:
                async for event in events:
                    match event:
                        case TurnStarted():
                            self._say(StepMoved(key, f"turn {event.turn}, {event.mode.name}"))
                        case CallStarted():
                            self._say(StepMoved(key, event.call.name))
                        case RunFinished():
                            result = event.result
        except JournalError:
            raise
        except (EngineError, SandboxError, ConfigurationError, OSError) as error:
            return StepResult(key, name, exit_of(error), reason=described(error))
        told = None
        if result.exit is Exit.ANSWERED:
            told = Kept(form.adapter if form else None).told(result.output if form else result.answer)
        return StepResult.of_run(key, name, result, told)

    async def _check(self, key: str, name: str, command: str, paths: Sequence[Path]) -> StepResult:
        sandbox = self._setting.agent.sandbox
        if sandbox is None:
            raise ConfigurationError("a check needs a sandbox, and this flow has none")
        try:
            session = await sandbox.session()
            try:
                for path in paths:
                    await session.put(path.name, path)
                done = await session.shell(command, seconds=min(CHECK_SECONDS, sandbox.limits.seconds))
            finally:
                await session.aclose()
        except (SandboxError, OSError, ValueError) as error:
            return StepResult(key, name, exit_of(error), reason=described(error))
        said = "\n".join(part.strip("\n") for part in (done.stdout, done.stderr, done.error) if part and part.strip())
        found = Checked(done.status == "ok", done.exit_code, clip(said, SHOWN))
        return StepResult(key, name, Exit.ANSWERED, asdict(found))

    def _ended(self, result: StepResult) -> StepResult:
        if result.exit is not Exit.ANSWERED:
            raise StepFailed(result)
        return result


async def _called(
    kept: Kept, key: str, name: str, function: Callable[..., Any], arguments: tuple[Any, ...], retries: int
) -> StepResult:
    for _ in range(retries + 1):
        try:
            value = function(*arguments) if inspect.iscoroutinefunction(function) else in_thread(function, *arguments)
            return StepResult(key, name, Exit.ANSWERED, kept.told(await value))
        except ConfigurationError:
            raise
        except (Exception, SystemExit) as error:
            failed = error
    return StepResult(key, name, Exit.FAILED, reason=clip(described(failed), 2000), failure=type(failed).__name__)


def _check_argument(name: str, value: Any, fits: bool, expected: str) -> None:
    if not fits:
        raise ConfigurationError(f"{name}: expected {expected}, got {value!r:.200}")


def name_of(function: Callable[..., Any], otherwise: str) -> str:
    """A function's name, for people."""
    return str(getattr(function, "__name__", otherwise)).replace("<lambda>", otherwise)
