"""What was said: typed messages in an append-only history that can branch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call that the model made.

    `arguments` is the JSON text exactly as the model wrote it, as re-serialising it would make the next prompt differ
    from what the server has in its prefix cache. Only where it had to be mended before it could run, it is what ran.
    `form` says where the call stood: `"native"` in the server's `tool_calls`, `"fenced"` as a code block
    in the content (it is then not sent a second time as a tool call).
    """

    id: str
    name: str
    arguments: str
    form: Literal["native", "fenced"] = "native"


@dataclass(frozen=True, slots=True)
class System:
    content: str


@dataclass(frozen=True, slots=True)
class User:
    content: str


@dataclass(frozen=True, slots=True)
class Assistant:
    """A model's turn. `reasoning` is kept for people and for families that want it back."""

    content: str
    calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a call gave, as the model is shown it."""

    call_id: str
    name: str
    content: str
    ok: bool = True


Message: TypeAlias = System | User | Assistant | ToolResult


def to_dict(message: Message) -> dict[str, Any]:
    """A message as JSON can hold it, with its `role`."""
    role = {System: "system", User: "user", Assistant: "assistant", ToolResult: "tool"}[type(message)]
    return {"role": role, **asdict(message)}


def from_dict(told: Mapping[str, Any]) -> Message:
    """The message that `to_dict` told."""
    fields = {name: value for name, value in told.items() if name != "role"}
    match told["role"]:
        case "system":
            return System(**fields)
        case "user":
            return User(**fields)
        case "tool":
            return ToolResult(**fields)
        case _:
            return Assistant(**{**fields, "calls": tuple(ToolCall(**call) for call in fields.get("calls", ()))})


@dataclass(frozen=True, slots=True)
class Transcript:
    """An immutable history. Appending gives a new one that shares the old one's messages.

    A branch is just another value that grew from the same prefix, so nothing in a history is ever edited and the
    server's prefix cache serves every branch.

    >>> trunk = Transcript().append(System("You are terse."), User("Hi"))
    >>> branch = trunk.append(Assistant("Hello."))
    >>> len(trunk), len(branch)
    (2, 3)
    """

    messages: tuple[Message, ...] = ()

    def append(self, *messages: Message) -> Transcript:
        return Transcript(self.messages + messages)

    def __len__(self) -> int:
        return len(self.messages)

    def __iter__(self) -> Iterator[Message]:
        return iter(self.messages)


def with_hint(history: Transcript, hint: str) -> Transcript:
    """A sibling of a history whose last message, a task or a tool's result, ends with a hint. The history itself is
    never edited, and no message of the user's is added, since families forget earlier thoughts behind one."""
    *earlier, last = history.messages
    if not isinstance(last, User | ToolResult):
        raise TypeError(f"a turn follows a task or a tool result, not {last!r}")
    return Transcript((*earlier, replace(last, content=f"{last.content}\n\n{hint}")))
