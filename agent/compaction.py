"""Keeps a prompt within the served context: of a history that would not fit, a shorter one is made.

The history itself is never edited: the shorter one is a branch of its own. It is made rarely and deep, as the server's
prefix cache is lost with it from the first message that differs, and grows again like any other. What makes it shorter
is no call of a model, so it costs nothing and says nothing that was not so. Clearing old tool results first is the
commonest way (https://www.anthropic.com/engineering/effective-context-engineering-for-ai-agents).
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial

from fastslow.agent.engine.types import Delta, Engine, Reply, Request
from fastslow.agent.engine.wire import most_tokens, size
from fastslow.agent.errors import ContextOverflow, EngineRefused, EngineUnreachable
from fastslow.agent.plan import PLAN
from fastslow.agent.transcript import Assistant, Message, System, ToolCall, ToolResult, Transcript, User
from fastslow.tools import clip

ROOM = 4  # at most one part in so many of the context is kept free for thoughts and answer
RECENT = 2  # newest tool results that stay whole, and always those of the last turn
ERRORS = 2  # newest failed results that are never folded, of the last ERROR_WINDOW
ERROR_WINDOW = 10  # newest results among which those are looked for
PLANS = 2  # newest plans that stay though they failed; those that succeeded all do
STAND_IN = 600  # characters that stay of an old result
CUTS = (3000, STAND_IN)  # characters that stay of what should stay whole, where else nothing fits
FILE_TOOLS = {"read_file": False, "edit_file": True, "write_file": True}  # and whether they change one
MAX_NAMED_FILES = 20  # of each kind, that a summary names
MAX_NAMED_TOOLS = 5  # tools that a summary names; the other ones are counted together
TRIES = 4  # times that a history is made shorter until the server counts few enough tokens
BYTES_A_TOKEN = 4  # of English, where the server does not count


@dataclass(frozen=True, slots=True)
class ShorterHistory:
    """A history that takes the place of one that was too long. before, after: tokens of the prompt."""

    transcript: Transcript
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Folded(ToolResult):
    """A result that stands for earlier calls, its own among them. tally: how often each tool went well, and not. files:
    those that were read or changed, the latest last, and whether they were changed."""

    tally: tuple[tuple[str, int, int], ...] = ()
    error: str = ""
    files: tuple[tuple[str, bool], ...] = ()


async def stream_fitting(engine: Engine, request: Request) -> AsyncGenerator[ShorterHistory | Delta | Reply, None]:
    """`engine.stream` with a history that fits. Where that of the request does not, the shorter one comes first.

    Raises what `engine.stream` raises; ContextOverflow only when nothing is left that could be made shorter.
    """
    wanted = request.mode.budget + (request.answer_tokens or engine.profile.answer_tokens)
    limit = engine.context - min(wanted, engine.context // ROOM)
    if limit and most_tokens(request) + wanted > engine.context:
        request, shorter = await _fit(engine, request, limit)
        if shorter:
            yield shorter
    try:
        async with aclosing(engine.stream(request)) as stream:
            async for item in stream:
                yield item
    except ContextOverflow:  # the server counts more than it says, or has less room
        tokens = request.counted or (await _count_tokens(engine, request))[0]
        request, shorter = await _fit(engine, request, min(limit or tokens, tokens) // 2)
        if shorter is None:
            raise
        yield shorter
        async with aclosing(engine.stream(request)) as stream:
            async for item in stream:
                yield item


def compact(messages: Sequence[Message], target: int, limit: int) -> tuple[Message, ...]:
    """A history of about `target` bytes, made of one that is longer.

    Old tool results become short, the oldest first. Where this is not enough, the oldest turns are folded into one
    that sums them up, but for the newest errors. The system prompt and the task always stay, and so do plans with the
    results of their steps, and the newest tool results; only where it would not come down to `limit` bytes otherwise,
    the texts of these become short as well. Each call that stays has its result.
    """
    kept = list(messages)
    turns = _turns(kept)
    newest, errors = _latest(kept, turns)
    plans = _plans(kept, turns)
    others = [turn for turn in turns if turn not in plans]
    past = [turn for turn in others if newest.isdisjoint(turn)]
    results = [n for turn in others for n in turn[1:] if n not in newest]
    _shorten(kept, sorted([*results, *(turn.start for turn in past)]), target, _stand_in)
    _fold(kept, [turn for turn in past if errors.isdisjoint(turn)], target)
    turns = _turns(kept)
    plans = _plans(kept, turns)
    for cut in CUTS:
        for last in ([turn for turn in turns if turn not in plans], plans):
            _shorten(kept, [n for turn in last for n in turn], limit, partial(_cut, cut=cut))
    return tuple(kept)


# --- how much, by the server's count ---------------------------------------------------------------------


async def _fit(engine: Engine, request: Request, limit: int) -> tuple[Request, ShorterHistory | None]:
    """The request with its tokens counted; where they are more than `limit`, one with about half of that."""
    before, request = await _count_tokens(engine, request)
    if before <= limit:
        return request, None
    messages = request.messages if engine.profile.replay else tuple(map(_without_thoughts, request.messages))
    fixed = most_tokens(replace(request, messages=()))
    rate = before / (fixed + sum(map(size, messages)))  # tokens a byte
    for _ in range(TRIES):
        shorter = compact(messages, int(limit / 2 / rate) - fixed, int(limit / rate) - fixed)
        after, fitted = await _count_tokens(engine, replace(request, messages=shorter))
        if after <= limit:
            break
        rate = max(1.1 * rate, after / (fixed + sum(map(size, shorter))))  # what is left has more than what went
    if after >= before:
        return request, None
    return fitted, ShorterHistory(Transcript(shorter), before, after)


async def _count_tokens(engine: Engine, request: Request) -> tuple[int, Request]:
    """Tokens of the prompt, and the request that tells them to the engine; where it cannot count, an estimate."""
    try:
        tokens = await engine.count(request.messages, request.tools, request.mode, request.session)
    except (EngineRefused, EngineUnreachable):  # one that is away is waited for with the turn itself
        return most_tokens(request) // BYTES_A_TOKEN, replace(request, counted=None)
    except ContextOverflow:
        return max(engine.context, most_tokens(request) // BYTES_A_TOKEN), replace(request, counted=None)
    return tokens, replace(request, counted=tokens)


# --- what stays -------------------------------------------------------------------------------------------


def _turns(messages: Sequence[Message]) -> list[range]:
    """Each turn that made calls, with their results."""
    turns = []
    for start, message in enumerate(messages):
        if isinstance(message, Assistant) and message.calls:
            stop = start + 1
            while stop < len(messages) and isinstance(messages[stop], ToolResult):
                stop += 1
            turns.append(range(start, stop))
    return turns


def _plans(messages: Sequence[Message], turns: Iterable[range]) -> list[range]:
    """Turns that made a plan; of those that failed (refused ones are among them) the newest."""
    made: list[range] = []
    failed: list[range] = []
    for turn in turns:
        results = [m for m in (messages[n] for n in turn) if isinstance(m, ToolResult) and m.name == PLAN.name]
        if results:
            (made if all(result.ok for result in results) else failed).append(turn)
    return made + failed[-PLANS:]


def _latest(messages: Sequence[Message], turns: Sequence[range]) -> tuple[set[int], set[int]]:
    """Where the newest results are, those of the last turn too, as nobody read them yet; and the newest errors."""
    results = [(n, message.ok) for n, message in enumerate(messages) if isinstance(message, ToolResult)]
    errors = [n for n, ok in results[-ERROR_WINDOW:] if not ok]
    unread = turns[-1][1:] if turns else ()
    return {*unread, *(n for n, _ in results[-RECENT:])}, set(errors[-ERRORS:])


# --- how it gets shorter ----------------------------------------------------------------------------------


def _shorten(kept: list[Message], places: Iterable[int], goal: int, shorter: Callable[[Message], Message]) -> None:
    """Put shorter messages in their places, in order, until all are `goal` bytes together."""
    total = sum(map(size, kept))
    for n in places:
        if total <= goal:
            return
        short = shorter(kept[n])
        total += size(short) - size(kept[n])
        kept[n] = short


def _stand_in(message: Message) -> Message:
    """What stays of an old turn: of its result head and tail, where a path to the whole may stand; no thoughts."""
    if isinstance(message, ToolResult):
        return replace(message, content=clip(message.content, STAND_IN))
    return _without_thoughts(message)


def _without_thoughts(message: Message) -> Message:
    return replace(message, reasoning="") if isinstance(message, Assistant) and message.reasoning else message


def _cut(message: Message, cut: int) -> Message:
    """The message with texts of at most `cut` characters."""
    match message:
        case ToolResult():
            return replace(message, content=clip(message.content, cut))
        case Assistant():
            calls = tuple(_cut_call(call, cut) for call in message.calls)
            return Assistant(clip(message.content, cut), calls)
        case System() | User():
            return message


def _cut_call(call: ToolCall, cut: int) -> ToolCall:
    """The call with arguments that are one JSON object still, as servers want them."""
    if len(call.arguments) <= cut:
        return call
    try:
        given = json.loads(call.arguments)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        return replace(call, arguments="{}")  # it did not run, and its result quotes it
    short = {name: clip(value, cut // 4) if isinstance(value, str) else value for name, value in given.items()}
    for less in (short, {"cut": clip(call.arguments, cut // 4)}):  # never one without any, which looks not made yet
        text = json.dumps(less, ensure_ascii=False).encode("utf-8", "replace").decode()
        if len(text) <= cut:
            break
    return replace(call, arguments=text)


def _fold(kept: list[Message], old: Sequence[range], target: int) -> None:
    """Put one turn in the place of the oldest ones: of as few as bring it down to `target` bytes, or of all."""
    total = sum(map(size, kept))
    if total <= target:
        return
    left = total
    for count, turn in enumerate(old, 1):
        left -= sum(size(kept[n]) for n in turn)
        if count == 1 or (left > target and count < len(old)):
            continue
        one = _merged_turn(kept, old[:count])
        after = left + sum(map(size, one))
        if after <= target or (count == len(old) and after < total):
            gone = {n for turn in old[:count] for n in turn}
            parts = (one if n == old[0].start else () if n in gone else (message,) for n, message in enumerate(kept))
            kept[:] = [message for part in parts for message in part]
            return


def _merged_turn(kept: Sequence[Message], old: Sequence[range]) -> tuple[Assistant, Folded]:
    """A turn that stands for several: it makes the shortest of their calls, or that of one that did so before."""
    tally: dict[str, tuple[int, int]] = {}
    files: dict[str, bool] = {}
    error, folded = "", None
    for turn in old:
        for result in (kept[n] for n in turn):
            if isinstance(result, Folded):
                folded, error = turn, result.error or error
                tally |= {name: (ok, failed) for name, ok, failed in result.tally}
                files |= dict(result.files)
            elif isinstance(result, ToolResult):
                ok, failed = tally.get(result.name, (0, 0))
                tally[result.name] = (ok + result.ok, failed + (not result.ok))
                error = error if result.ok else "".join(result.content.strip().splitlines()[-1:])
                if result.ok and (path := _path_of(kept[turn.start], result)):
                    files[path] = files.pop(path, False) or FILE_TOOLS[result.name]
    said = kept[(folded or min(old, key=lambda turn: size(kept[turn.start]))).start]
    if not isinstance(said, Assistant):
        raise TypeError(f"a turn begins with what the model said, not with {said!r}")
    call, rows = said.calls[0], tuple((name, ok, failed) for name, (ok, failed) in tally.items())
    told = clip(_tally_text(rows, error), STAND_IN) + _files_text(files)
    result = Folded(call.id, call.name, told, True, rows, clip(error, STAND_IN // 2), tuple(files.items()))
    return Assistant(clip(said.content, STAND_IN), (_cut_call(call, STAND_IN),)), result


def _path_of(said: Message, result: ToolResult) -> str:
    """The file that a call read or changed; nothing of a call that did neither."""
    if result.name not in FILE_TOOLS or not isinstance(said, Assistant):
        return ""
    arguments = next((call.arguments for call in said.calls if call.id == result.call_id), "")
    try:
        path = json.loads(arguments)["path"]
    except (ValueError, LookupError, TypeError, RecursionError):  # cut short, or of another one's tool
        return ""
    return clip(path, 200) if isinstance(path, str) else ""


def _files_text(files: Mapping[str, bool]) -> str:
    """Files that were changed and read, the latest of each: whoever goes on need not look for them again."""
    told = ""
    for what, changed in (("changed", True), ("read", False)):
        paths = [path for path in files if files[path] is changed]
        more = f" and {len(paths) - MAX_NAMED_FILES} more" if len(paths) > MAX_NAMED_FILES else ""
        told += f"\n[Files {what}: {', '.join(paths[-MAX_NAMED_FILES:])}{more}]" if paths else ""
    return told


def _tally_text(tally: Sequence[tuple[str, int, int]], error: str) -> str:
    """A tally in words: `[12 earlier calls are left out: python 9 ok, 3 failed. The last error: …]`."""
    rows = sorted(tally, key=lambda row: -row[1] - row[2])
    named = [
        f"{clip(name, 40)} {ok} ok" + f", {failed} failed" * bool(failed) for name, ok, failed in rows[:MAX_NAMED_TOOLS]
    ]
    if others := sum(ok + failed for _, ok, failed in rows[MAX_NAMED_TOOLS:]):
        named.append(f"others {others}")
    last = f". The last error: {clip(error, STAND_IN // 2)}" if error else ""
    return f"[{sum(ok + failed for _, ok, failed in tally)} earlier calls are left out: {'; '.join(named)}{last}]"
