"""What crosses the engine's door: a request in, deltas and one reply out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from fastslow.agent.engine.profiles import Profile
from fastslow.agent.modes import FAST, Mode
from fastslow.agent.transcript import Message, ToolCall
from fastslow.tools import Tool

ANY, NO_CALL = "*", "-"  # no tool can have such a name


@dataclass(frozen=True, slots=True)
class Request:
    """One model call.

    messages: the whole history, oldest first.
    tools: every tool of the run, in a stable order; the same in both modes, or the prefix cache is lost.
    mode: thinking budget of this turn.
    answer_tokens: room for the visible answer beside the thinking budget; None takes the profile's.
    force: name of the one tool that must be called, `ANY` for some tool, `NO_CALL` for none; one that
        is made all the same is found.
    opening: first words of the thinking, or in front of a file (`fenced.FILE_TOOL`), for chat templates of ours.
    schema: JSON schema that the content must obey (no tool can be called then).
    counted: tokens of the prompt, where `Engine.count` told them already.
    temperature: in the place of the profile's, and seed: of the sampling; for samples that are to differ.
    session: the run's id, or that of the first one that it follows: requests with the same one begin with the same
        text, so they belong on the same server, which has it in its cache.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    mode: Mode = FAST
    answer_tokens: int | None = None
    force: str | None = None
    opening: str = ""
    schema: Mapping[str, Any] | None = None
    counted: int | None = None
    temperature: float | None = None
    seed: int | None = None
    session: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one model call cost, in tokens and seconds. `cached` counts prompt tokens served from the prefix cache."""

    prompt: int = 0
    cached: int = 0
    thinking: int = 0
    answer: int = 0
    seconds: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt + other.prompt,
            self.cached + other.cached,
            self.thinking + other.thinking,
            self.answer + other.answer,
            self.seconds + other.seconds,
        )


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a reply as it arrives, for people to watch; the loop acts on the `Reply` alone."""

    kind: Literal["thinking", "text"]
    text: str


Finish: TypeAlias = Literal["stop", "length", "repetition"]


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole model turn.

    finish: `"length"` means cut off, and so does `"repetition"`, by the server because the text went round in circles:
    the content is no answer then, and half a call was dropped.

    logprobs: of what the model was to choose from (`Engine.choose`), the logarithm of each one's probability. Of those
    that begin with the same token the first stands for all.

    dropped: names of calls that are not among `calls`, as they were cut off, or did not come whole.
    `notes` says what had to be mended on the way, one sentence each ("1 call was found again in the content").
    """

    content: str = ""
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()
    finish: Finish = "stop"
    usage: Usage = field(default_factory=Usage)
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    logprobs: Mapping[str, float] = field(default_factory=dict)


class Engine(Protocol):
    """Something that continues a conversation: `VLLM`, or a double of `fastslow.agent.engine.scripted`."""

    @property
    def model(self) -> str:
        """The name under which the model is served."""

    @property
    def profile(self) -> Profile:
        """The model family's facts. Known once `connect` returned."""

    @property
    def context(self) -> int:
        """Tokens that prompt and answer may have together; 0 is not known. Known once `connect` returned."""

    async def connect(self) -> tuple[str, ...]:
        """Reach the server, find model and profile, probe once; returns notices for the user. Idempotent."""

    def stream(self, request: Request) -> AsyncGenerator[Delta | Reply, None]:
        """Continue the conversation: any number of deltas, then exactly one `Reply`, last.

        Closing the generator aborts the request on the server.
        """

    async def choose(self, request: Request, choices: Sequence[str]) -> Reply:
        """Which of these tools the model would call if it had to, by the first tokens of their names: its own
        probabilities, for the price of one token. The prompt is that of the request, so the next turn finds it in the
        cache.

        An empty reply where the server cannot do that.
        """

    async def count(
        self, messages: Sequence[Message], tools: Sequence[Tool] = (), mode: Mode = FAST, session: str = ""
    ) -> int:
        """Tokens of a prompt. Raises EngineRefused where the server does not count."""

    async def aclose(self) -> None:
        """Close connections. The server goes on."""
