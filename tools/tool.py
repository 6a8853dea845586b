"""A tool: what a model is told of it, and how it is run."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from fastslow.sandbox.errors import SandboxError
from fastslow.sandbox.sandbox import OnCall, OnDisplay, OnOutput, Session
from fastslow.tools.arguments import Rewrite
from fastslow.tools.errors import ArgumentError, ToolDefinitionError, ToolError, ToolTimeout
from fastslow.tools.foreign import GRACE, apart, described, in_thread, tried
from fastslow.tools.result import Outcome, as_outcome, as_text
from fastslow.tools.schema import check_schema
from fastslow.tools.seen import Seen
from fastslow.tools.strict import strict_form

TIMEOUT = 60.0
UNLIMITED_GRACE = 60.0  # seconds to end, once cancelled, for a tool without a timeout: a run within a run, say
YIELDED = 10_000  # values that one call may yield

Effect: TypeAlias = Literal["read", "sandbox", "outside"]
"""What a call may change: nothing at all; nothing but the sandbox, which goes with the run; anything else."""

Place: TypeAlias = Literal["host", "sandbox"]
"""Where a tool's paths lead: on this machine, from the process's working folder; in the sandbox, from `/work`."""


async def no_session() -> Session:
    raise ToolError("There is no sandbox here, so neither code nor files can be used.")


@dataclass(frozen=True, slots=True)
class Caller:
    """What a tool may tell whoever runs it while it runs, and ask of it.

    open_session: gives the sandbox's session, the same each time, and starts it at the first. seconds: the most that
    one execution in it may take. Output and displays are told as they come; on_call answers calls that code makes of
    the host's functions. seen: what the tools have seen of the session's files.
    """

    open_session: Callable[[], Awaitable[Session]] = no_session
    seconds: float = TIMEOUT
    on_output: OnOutput | None = None
    on_display: OnDisplay | None = None
    on_call: OnCall | None = None
    seen: Seen = field(default_factory=Seen)

    def limit(self, wanted: float) -> float:
        """Seconds that an execution gets which wants so many."""
        return min(wanted, self.seconds) if wanted > 0 else self.seconds


caller: ContextVar[Caller] = ContextVar("caller", default=Caller())  # noqa: B039 - it is frozen
"""Set by whoever runs a tool and listens."""

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@dataclass(frozen=True)
class Tool:
    """Something that a model can call.

    name: letters, digits, `_` and `-`, at most 64. description: for the model, in one to three sentences.
    parameters: JSON schema of an object, as its author wrote it: arguments are validated against this. The
        server is sent its strict form (`spec`).
    handler: called as `handler(**received)` with what `receive` gives; sync (then in a thread of its own) or async.
    timeout: seconds that one call may take, None for tools that keep to a limit of their own.
    effect: what a call may change; what is not said counts as `"outside"`, which asks first (see `Approval`).
    repeatable: whether a call may be made again where a crash left it open whether it ran; by itself what the effect
        says: not `"outside"`.
    place: where its paths lead.
    bind: makes what the handler is called with out of arguments that fit the schema: typed values, with its defaults.
    rewrite: makes arguments of the schema out of others that mean the same, such as names of other tools; the model is
        not told of them. Only arguments that do not fit as they are written come here.
    spec: the tool as an element of a request's `tools`; always the same object, so do not change it. size: its
        characters as JSON.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    handler: Callable[..., Any] = field(repr=False)
    timeout: float | None = TIMEOUT
    effect: Effect = "outside"
    repeatable: bool | None = None
    place: Place = "host"
    bind: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = field(default=None, repr=False, compare=False)
    rewrite: Rewrite | None = field(default=None, repr=False, compare=False)
    spec: dict[str, Any] = field(init=False, repr=False, compare=False)
    size: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ToolDefinitionError(
                f"a tool's name has 1 to 64 of the characters a-z A-Z 0-9 _ -, got {self.name!r}; "
                "rename it: @tool(name=...)"
            )
        if not self.description.strip():
            raise ToolDefinitionError(f"tool {self.name!r} has no description; say in one sentence what it does")
        if not callable(self.handler):
            raise ToolDefinitionError(f"tool {self.name!r} needs a callable handler, got {self.handler!r}")
        if self.effect not in get_args(Effect) or self.place not in get_args(Place):
            raise ToolDefinitionError(
                f"tool {self.name!r} needs an effect of {get_args(Effect)} and a place of {get_args(Place)}, "
                f"got {self.effect!r} and {self.place!r}"
            )
        if self.timeout is not None and not (isinstance(self.timeout, int | float) and self.timeout > 0):
            raise ToolDefinitionError(
                f"tool {self.name!r} needs a timeout over 0 seconds or None, got {self.timeout!r}"
            )
        if self.repeatable is None:
            object.__setattr__(self, "repeatable", self.effect != "outside")
        check_schema(self.name, self.parameters)
        parameters, strict = strict_form(self.parameters)
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": parameters,
            "strict": strict,
        }
        object.__setattr__(self, "spec", {"type": "function", "function": function})
        object.__setattr__(self, "size", len(json.dumps(self.spec)))

    def __hash__(self) -> int:
        return hash(self.name)

    @classmethod
    def from_schema(
        cls,
        name: str,
        description: str,
        parameters: Mapping[str, Any],
        handler: Callable[..., Any],
        *,
        timeout: float | None = TIMEOUT,
        effect: Effect = "outside",
    ) -> Tool:
        """A tool from a raw JSON schema. Raises ToolDefinitionError."""
        return cls(name, description, parameters, handler, timeout, effect)

    async def run(self, arguments: Mapping[str, Any]) -> str:
        """`call`, and the text of what it gave."""
        return (await self.call(arguments)).text

    async def call(self, arguments: Mapping[str, Any]) -> Outcome:
        """`run_body` with what the body receives for these arguments. Raises ToolError, as those two do."""
        return await self.run_body(self.receive(arguments))

    def receive(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the body is called with for arguments that fit the schema: typed, and with the defaults of those that
        were left out. Whoever judges a call judges this. Raises ArgumentError.
        """
        if self.bind is None:
            return {**_defaults(self.handler, self.parameters), **arguments}
        end = tried(self.bind, arguments)  # a type's validators are the tool's own code
        if isinstance(end.error, ArgumentError):
            raise end.error
        if end.error:
            raise ArgumentError(f"The arguments could not be checked: {described(end.error)}") from end.error
        assert end.value is not None  # noqa: S101 - it did not fail
        return end.value

    async def run_body(self, received: Mapping[str, Any]) -> Outcome:
        """Run the body with what `receive` gave. A body may return an `Outcome` that says more than a value does; what
        one yields is told as it comes, and all of it is the result, as a list.

        Raises ToolError for whatever goes wrong inside of it, written for the model: a KeyboardInterrupt of its own and
        a cancellation that came from within, too. `SandboxError` passes through, as then the sandbox failed and not
        the tool.
        """
        grace = UNLIMITED_GRACE if self.timeout is None else GRACE
        end = await apart(self._called, received, seconds=self.timeout, grace=grace)
        if end.overdue:
            raise ToolTimeout(f"{self.name} was stopped after {self.timeout:g} seconds; do less in one call.")
        if isinstance(end.error, ToolError | SandboxError):
            raise end.error
        if end.error:
            raise ToolError(f"{self.name} failed: {described(end.error)}") from end.error
        assert end.value is not None  # noqa: S101 - neither overdue nor an error
        return end.value

    async def _called(self, received: Mapping[str, Any]) -> Outcome:
        if inspect.iscoroutinefunction(self.handler):
            given = await self.handler(**received)
        else:
            given = await in_thread(self._run_in_thread, received)
            if inspect.isawaitable(given):
                given = await given
        if inspect.isasyncgen(given):
            values: list[Any] = []
            async with aclosing(given):
                async for value in given:
                    _keep(value, values)
            given = values
        elif isinstance(given, Iterator):
            given = await in_thread(_collected, given)
        return as_outcome(given)

    def _run_in_thread(self, received: Mapping[str, Any]) -> Any:
        """Run a blocking body; its outcome, or what must be awaited for it."""
        given = self.handler(**received)
        if inspect.isasyncgen(given) or inspect.isawaitable(given):
            return given
        return as_outcome(_collected(given) if isinstance(given, Iterator) else given)


def _collected(given: Iterator[Any]) -> list[Any]:
    """What is left in a generator, `map`, or rows of a database."""
    values: list[Any] = []
    try:
        for value in given:
            _keep(value, values)
    finally:
        if inspect.isgenerator(given):
            given.close()
    return values


def _keep(value: Any, values: list[Any]) -> None:
    """Add a value that a body yielded, and tell it."""
    if len(values) == YIELDED:
        raise ToolError(f"It yielded {YIELDED:,} values and was stopped; ask for less in one call.")
    values.append(value)
    if on_output := caller.get().on_output:
        on_output("stdout", f"{as_text(value)}\n")


def _defaults(handler: Callable[..., Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """What the handler takes for parameters of the schema that are left out."""
    try:
        parameters = inspect.signature(handler).parameters
    except (TypeError, ValueError):  # written in C, and silent on it
        return {}
    return {
        name: parameters[name].default
        for name in schema.get("properties", ())
        if name in parameters
        and parameters[name].default is not inspect.Parameter.empty
        and parameters[name].kind is not inspect.Parameter.POSITIONAL_ONLY
    }
