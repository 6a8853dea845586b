"""What a server sent, put together from its pieces. A field of the wrong type counts as absent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import httpx

from fastslow.agent.engine.types import Delta
from fastslow.agent.engine.wire import is_object
from fastslow.agent.errors import EngineError
from fastslow.tools.lenient import skip_space

_DECODER = json.JSONDecoder()
END_SECONDS = 1.0  # for the end of a stream behind its `[DONE]`: read to it, a connection serves again


@dataclass(slots=True)
class ReceivedCall:
    """A tool call as the server's parser gave it; any part may be missing or damaged."""

    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class _Slot:
    """Where pieces of a call are put together, or of several that the server does not tell apart. The arguments are
    not joined meanwhile, as they may have come cumulatively."""

    id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        """Whether the arguments are whole."""
        return bool(self.pieces) and self.pieces[-1].rstrip().endswith("}") and is_object("".join(self.pieces))

    def goes_on(self, id_: str, name: str, arguments: str) -> bool:
        """Whether a piece that names a call is of this one: some servers repeat id and name in each piece, some give
        each an id of its own, some send names in pieces, and some count all calls as one."""
        if id_ and self.id and id_ != self.id:
            inside = arguments.strip() and not arguments.lstrip().startswith("{")  # else see `_joined`
            return name == self.name and bool(inside and self.pieces) and not self.ended
        return name == self.name or not self.name or not self.pieces

    def add(self, id_: str, name: str, arguments: str) -> None:
        self.id = self.id or id_
        if name != self.name:
            self.name = name if name.startswith(self.name) else self.name + name
        if arguments:
            self.pieces.append(arguments)

    def calls(self) -> list[ReceivedCall]:
        return [ReceivedCall(self.id, self.name, arguments) for arguments in _told_apart(self.pieces)]


@dataclass(slots=True)
class Received:
    """One answer while it arrives, from stream chunks or from one whole body.

    token_ids: what the model generated, where the server tells. thinking_ids: those that came as reasoning.
    finish: the server's word; empty while the answer is not whole. stop_string: which one ended it (it is not
    in the content). usage: of each count the most that was told, as some servers tell them in parts, or often.
    """

    token_ids: list[int] = field(default_factory=list)
    thinking_ids: int = 0
    finish: str = ""
    stop_string: str = ""
    usage: Mapping[str, Any] = field(default_factory=dict)
    started: bool = False
    _content: list[str] = field(default_factory=list)
    _reasoning: list[str] = field(default_factory=list)
    _slots: list[_Slot] = field(default_factory=list)
    _by_index: dict[str, _Slot] = field(default_factory=dict)
    _by_id: dict[str, _Slot] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether the server ended it of itself. vLLM says `abort` for what it gave up when it was shut down."""
        return self.finish not in {"", "abort", "error"}

    @property
    def content(self) -> str:
        return "".join(self._content)

    @property
    def reasoning(self) -> str:
        return "".join(self._reasoning)

    @property
    def calls(self) -> list[ReceivedCall]:
        """The calls in the order in which they began. One that came twice under one id is one."""
        calls: list[ReceivedCall] = []
        for call in [call for slot in _joined(self._slots) for call in slot.calls()]:
            twin = next((other for other in calls if other.id and _is_same(other, call)), None)
            if twin is None:
                calls.append(call)
            elif len(call.arguments) > len(twin.arguments):
                twin.arguments = call.arguments
        return calls

    def feed(self, chunk: Mapping[str, Any]) -> list[Delta]:
        """Take one chunk of a stream, or one whole body, and return what a person may watch of it."""
        self.usage = _most(self.usage, as_mapping(chunk.get("usage")))
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices:
            return []
        choice = as_mapping(choices[0])
        part = as_mapping(choice.get("delta"))
        whole = {} if part.keys() - {"role"} else as_mapping(choice.get("message"))
        self.stop_string = as_text(choice.get("stop_reason")) or self.stop_string
        self.finish = as_text(choice.get("finish_reason")) or self.finish or ("stop" if whole else "")
        calls = _calls_of(part) or ([] if self._slots else _calls_of(whole))
        if whole and not self.started:
            part = whole  # behind a stream, a whole message says its text and its calls again
        # vLLM renamed `reasoning_content` to `reasoning`; a server may send either, or both.
        thinking = as_text(part.get("reasoning")) or as_text(part.get("reasoning_content"))
        text = as_text(part.get("content"))
        for position, call in enumerate(calls):
            self._feed_call(as_mapping(call), str(position) if len(calls) > 1 else "")
        ids = choice.get("token_ids")
        if isinstance(ids, list):
            self.token_ids += [n for n in ids if isinstance(n, int)]
            self.thinking_ids += len(ids) if thinking and not text and not calls else 0
        self._reasoning.append(thinking)
        self._content.append(text)
        self.started = self.started or bool(thinking or text or calls)
        return [Delta("thinking", thinking)] * bool(thinking) + [Delta("text", text)] * bool(text)

    def _feed_call(self, part: Mapping[str, Any], position: str) -> None:
        """Add a piece of a call. position: in a chunk of several; it counts where the server does not."""
        function, index = as_mapping(part.get("function")), part.get("index")
        index = (str(index) if isinstance(index, int | float | str) else "") or position
        id_, name, given = as_text(part.get("id")), as_text(function.get("name")), function.get("arguments")
        arguments = json.dumps(given, ensure_ascii=False) if isinstance(given, dict) else as_text(given)
        if not (id_ or name or arguments):
            return
        slot = self._slot(index, id_, name, arguments)
        if slot is None:
            slot = _Slot()
            index = index or str(len(self._slots))
            self._slots.append(slot)
        slot.add(id_, name, arguments)
        self._by_id[id_], self._by_index[index] = slot, slot

    def _slot(self, index: str, id_: str, name: str, arguments: str) -> _Slot | None:
        """Where a piece belongs; None for a new call."""
        last = self._slots[-1] if self._slots else None
        by_id = self._by_id.get(id_) if id_ else None
        by_index = self._by_index.get(index) if index else by_id or last
        if name:
            return by_index if by_index and by_index.goes_on(id_, name, arguments) else None
        slot = by_id if by_id and (by_index is None or by_index.id != id_) else by_index
        if slot is None:
            return last if not id_ else None
        return last if last and not last.pieces and slot.ended else slot  # counted in another way than it was named


def as_mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def as_count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _calls_of(part: Mapping[str, Any]) -> list[Any]:
    """The calls, or pieces of them, in a delta or a message; also in the two older ways."""
    calls = part.get("tool_calls")
    if isinstance(calls, list) and calls:
        return calls
    if isinstance(calls, dict):
        return [calls]  # https://github.com/huggingface/text-generation-inference/issues/2794
    function = as_mapping(part.get("function_call"))
    return [{"function": function}] if function else []


def _joined(slots: list[_Slot]) -> Iterator[_Slot]:
    """The slots, those as one that are whole only together: some servers give each piece the name and a new id."""
    for _, group in groupby(slots, lambda slot: slot.name):
        run = list(group)
        at = next((n for n, slot in enumerate(run) if _leading_objects("".join(slot.pieces))[1]), len(run))
        at -= at > 0 and not run[at - 1].pieces  # which announces it
        pieces = [piece for slot in run[at:] for piece in slot.pieces]
        objects, rest = _leading_objects("".join(pieces))
        yield from [*run[:at], replace(run[at], pieces=pieces)] if objects and not rest else run


def _told_apart(pieces: list[str]) -> list[str]:
    """The arguments of each call in pieces that came for one: JSON itself tells where a call ends.

    Each piece may hold all that came before it, all of it may have come twice, or the next call's may follow.
    """
    text = "".join(pieces)
    if is_object(text):
        return [text]
    grown = ""
    for piece in pieces:
        grown = piece if grown and piece.startswith(grown) else grown + piece
    objects, rest = _leading_objects(text)
    # What ends one call in a damaged way is its own.
    if is_object(grown) or not objects or (rest and not rest.startswith("{")):
        return [grown]
    told = [arguments for arguments in objects if json.loads(arguments)] or objects[:1]  # an empty one announces it
    return told + ([rest] if rest and not any(each.startswith(rest) for each in told) else [])


def _leading_objects(text: str) -> tuple[list[str], str]:
    """The JSON objects at the head of a text, each once, and what follows them."""
    objects, position = dict[str, str](), skip_space(text, 0)
    while text.startswith("{", position):
        try:
            value, end = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError):
            break
        objects.setdefault(json.dumps(value, sort_keys=True), text[position:end])
        position = skip_space(text, end)
    return list(objects.values()), text[position:]


def _is_same(one: ReceivedCall, other: ReceivedCall) -> bool:
    """Whether two calls of one id are the same one, of which one may have come in part."""
    if one.id != other.id or (one.name != other.name and other.name):
        return False
    short, long = sorted((one.arguments.strip(), other.arguments.strip()), key=len)
    return short in ("", "{}") or long.startswith(short) or _leading_objects(long + short) == _leading_objects(long)


def _most(told: Mapping[str, Any], more: Mapping[str, Any]) -> Mapping[str, Any]:
    """Counts of tokens, of each the larger one."""
    return dict(told) | {
        name: _most(as_mapping(told.get(name)), count)
        if isinstance(count, dict)
        else max(as_count(told.get(name)), as_count(count))
        for name, count in more.items()
    }


async def events(chunks: AsyncIterator[bytes]) -> AsyncGenerator[list[bytes], None]:
    """The data of server-sent events up to `[DONE]`; those that came together, together.

    Split at line feeds alone: httpx's own line reader also splits at U+2028 and its like, which JSON may
    hold raw.
    """
    begun: list[bytes] = []
    async for chunk in chunks:
        *lines, rest = chunk.split(b"\n")
        if lines:
            lines[0] = b"".join([*begun, lines[0]])
            begun.clear()
        begun.append(rest)
        data = [line.removeprefix(b"data:").strip() for line in lines if line.startswith(b"data:")]
        done = b"[DONE]" in data
        if told := data[: data.index(b"[DONE]")] if done else data:
            yield told
        if done:
            await _to_the_end(chunks)
            return


async def _to_the_end(chunks: AsyncIterator[bytes]) -> None:
    """Read what is left, which should be nothing. A connection whose answer was not read to its end is closed."""
    with suppress(TimeoutError, httpx.HTTPError, EngineError):
        async with asyncio.timeout(END_SECONDS):
            async for _ in chunks:
                pass
