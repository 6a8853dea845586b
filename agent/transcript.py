"""What was said: typed messages in an append-only history that can branch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call that the model made.

    `arguments` is the JSON text exactly as the model wrote it: re-serialising it would make the
    next prompt differ from what the server has in its prefix cache.
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
