"""Plays damaged model output at what reads it, for as many inputs as wanted: `python -m tests.fuzz [--count N]`.

Each input is a rendering of calls as some model writes them, cut, spliced and scrambled by the seeded generator. It
must raise nothing but what is promised, take no longer than its length allows, give nothing that does not fit the
schema, and never make a whole call out of one that was cut off. Prints the inputs that break a promise, and ends with
status 1 if there are any.
"""
# ruff: noqa: RUF001 - DeepSeek's tags are written with a fullwidth bar.

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from jsonschema import Draft202012Validator

from fastslow.agent.engine.mend import mend, needs_raw
from fastslow.agent.engine.profiles import PROFILES
from fastslow.agent.engine.received import Received
from fastslow.agent.engine.recover import DIALECTS, recover_calls
from fastslow.agent.engine.types import Request
from fastslow.agent.modes import FAST, Mode
from fastslow.agent.transcript import User
from fastslow.tools import ArgumentError, Tool, parse_arguments

SECONDS = 1.0  # for one input of a few kB; a slow one is a fault of ours
WORDS = [
    "rm -rf /tmp/x",
    "é",
    "\ud83d",
    "</tool_call>",
    '"',
    "'",
    "\\",
    "{",
    "}",
    "[1, 2]",
    "null",
    "007",
    "\n",
    "a" * 50,
]
PIECES = [
    *(
        "<tool_call>",
        "</tool_call>",
        "<think>",
        "</think>",
        "```json\n",
        "```",
        "[TOOL_CALLS]",
        "<function=f>",
        "<invoke ",
    ),
    *("</function>", "<parameter=x>", "</parameter>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "\x00"),
    *(
        "<｜tool▁call▁begin｜>",
        "<｜tool▁sep｜>",
        "<|tool_call_begin|>",
        "<|python_tag|>",
        "<|tool_call_start|>",
        "functools[",
    ),
    *('<|"|>', "<tool_call|>", "]<]minimax[>[", "<|close|>argument<|sep|>", "<|channel|>", "'''", "r'", "\\x1b"),
    *(
        '{"name":',
        '"arguments":',
        "NaN",
        "Infinity",
        "-",
        "1e999",
        "{" * 70,
        "[" * 70,
        ",",
        ":",
        '""',
        "\\u",
        "\\ud800",
        "]",
    ),
]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "command": {"type": "string"},
        "count": {"type": "integer"},
        "on": {"type": "boolean"},
        "list": {"type": "array", "items": {"type": "string"}},
        "more": {"type": "object"},
        "kind": {"enum": ["a", "b"]},
    },
    "required": ["command"],
    "additionalProperties": False,
}
VALID = Draft202012Validator(SCHEMA)
TOOL = Tool.from_schema("f", "Runs.", SCHEMA, print)
Call = tuple[str, dict[str, Any]]


def some_call(rng: random.Random) -> Call:
    arguments: dict[str, Any] = {"command": "".join(rng.choices(WORDS, k=rng.randint(1, 4)))}
    if rng.random() < 0.4:
        arguments["count"] = rng.randint(-5, 10**12)
    if rng.random() < 0.3:
        arguments["list"] = rng.choices(WORDS, k=rng.randint(0, 3))
    if rng.random() < 0.2:
        arguments["more"] = {"deep": [{"er": rng.choice(WORDS)}]}
    return "f", arguments


def _json(call: Call) -> str:
    return json.dumps({"name": call[0], "arguments": call[1]}, ensure_ascii=False)


def _tagged(call: Call) -> str:
    return f"<tool_call>\n{_json(call)}\n</tool_call>"


def _xml(call: Call) -> str:
    rows = "".join(f"<parameter={name}>\n{_text(value)}\n</parameter>\n" for name, value in call[1].items())
    return f"<tool_call>\n<function={call[0]}>\n{rows}</function>\n</tool_call>"


def _glm(call: Call) -> str:
    rows = "".join(f"<arg_key>{name}</arg_key><arg_value>{_text(value)}</arg_value>" for name, value in call[1].items())
    return f"<tool_call>{call[0]}{rows}</tool_call>"


def _invoke(call: Call) -> str:
    rows = "".join(f'<parameter name="{name}">{_text(value)}</parameter>' for name, value in call[1].items())
    return f'<minimax:tool_call><invoke name="{call[0]}">{rows}</invoke></minimax:tool_call>'


def _deepseek(call: Call) -> str:
    return f"<｜tool▁call▁begin｜>{call[0]}<｜tool▁sep｜>{json.dumps(call[1])}<｜tool▁call▁end｜>"


def _kimi(call: Call) -> str:
    return f"<|tool_call_begin|>functions.{call[0]}:0<|tool_call_argument_begin|>{json.dumps(call[1])}<|tool_call_end|>"


def _mistral(call: Call) -> str:
    return f"[TOOL_CALLS]{call[0]}{json.dumps(call[1])}"


def _fenced(call: Call) -> str:
    return f"```json\n{_json(call)}\n```"


def _python(call: Call) -> str:
    return f"<|tool_call_start|>[{call[0]}({', '.join(f'{k}={v!r}' for k, v in call[1].items())})]<|tool_call_end|>"


def _gemma(call: Call) -> str:
    def written(value: Any) -> str:
        match value:
            case dict():
                return "{" + ",".join(f"{name}:{written(part)}" for name, part in value.items()) + "}"
            case list():
                return f"[{','.join(map(written, value))}]"
            case str():
                return f'<|"|>{value}<|"|>'
        return json.dumps(value)

    return f"<|tool_call>call:{call[0]}{written(call[1])}<tool_call|>"


def _typed(call: Call) -> str:
    rows = "".join(
        f'<|open|>argument key="{name}" type="{"string" if isinstance(value, str) else "any"}"<|sep|>{_text(value)}'
        "<|close|>argument<|sep|>"
        for name, value in call[1].items()
    )
    return f'<|open|>tools<|sep|><|open|>call tool="{call[0]}" index="1"<|sep|>{rows}<|close|>call<|sep|>'


def _elements(call: Call) -> str:
    mark = "]<]minimax[>["
    rows = "".join(f"{mark}<{name}>{_text(value)}{mark}</{name}>" for name, value in call[1].items())
    return f'{mark}<tool_call>{mark}<invoke name="{call[0]}">{rows}{mark}</invoke>'


def _harmony(call: Call) -> str:
    return f"<|channel|>commentary to=functions.{call[0]} <|constrain|>json<|message|>{json.dumps(call[1])}<|call|>"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


RENDERINGS: list[Callable[[Call], str]] = [
    *(_tagged, _xml, _glm, _invoke, _deepseek, _kimi, _mistral, _fenced, _python, _json),
    *(_gemma, _typed, _elements, _harmony),
]


def damaged(rng: random.Random, text: str) -> str:
    """The text after a few accidents."""
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        at = rng.randint(0, len(text))
        to = min(len(text), at + rng.randint(0, 12))
        match rng.randint(0, 6):
            case 0:
                text = text[:at]
            case 1:
                text = text[:at] + text[to:]
            case 2:
                text = text[:at] + rng.choice(PIECES) + text[at:]
            case 3:
                text = text[:at] + text[at:to] * rng.randint(2, 30) + text[to:]
            case 4 if at < 20:
                text = text[at:]
            case 5:
                text = text[:at] + chr(rng.choice([0, 10, 34, 39, 92, 0x2028, 0xD800, 0x1F600])) + text[to:]
            case 6:
                text = text[:at] + text[to:] + text[at:to]
    return text


def whole(found: dict[str, Any], meant: dict[str, Any]) -> bool:
    """Whether no text argument is the beginning of the one that was meant: that would be half a command."""
    command, full = found.get("command"), meant["command"]
    return not isinstance(command, str) or command == full or not full.startswith(command) or not command


# --- the promises -----------------------------------------------------------------------------------


def arguments(rng: random.Random) -> str | None:
    _, meant = some_call(rng)
    text = json.dumps(meant, ensure_ascii=rng.random() < 0.5)
    cut = rng.random() < 0.3
    text = text[: rng.randint(0, len(text) - 1)] if cut else damaged(rng, text)
    try:
        found = parse_arguments(SCHEMA, text)
    except ArgumentError:
        return None
    if not VALID.is_valid(found):
        return f"{found!r} does not fit the schema, from {text!r}"
    if cut and not whole(found, meant):
        return f"{found!r} is half of {meant!r}, from {text!r}"
    return None


def recovery(rng: random.Random) -> str | None:
    calls = [some_call(rng) for _ in range(rng.randint(1, 3))]
    rendering, dialect = rng.choice(RENDERINGS), rng.choice(sorted(DIALECTS))
    texts = [rendering(call) for call in calls]
    cut = rng.random() < 0.3
    last = texts[-1][: rng.randint(0, len(texts[-1]) - 1)] if cut else texts[-1]
    text = "\n".join([*texts[:-1], last])
    text = text if cut else damaged(rng, text)
    rest, found = recover_calls(text, dialect)
    if not isinstance(rest, str) or not all(isinstance(name, str) for name, _ in found):
        return f"{found!r} from {text!r}"
    if cut and len(found) == len(calls) and isinstance(found[-1][1], dict):
        meant = calls[-1][1]
        if not whole(found[-1][1], {**meant, "command": meant["command"].strip("\n")}):
            return f"{found[-1]!r} is half of {calls[-1]!r}, from {text!r} as {dialect}"
    return None


def reply(rng: random.Random) -> str | None:
    text = damaged(rng, rng.choice(RENDERINGS)(some_call(rng)))
    received = Received()
    for chunk in _chunks(rng, text):
        received.feed(chunk)
    mode = Mode(64) if rng.random() < 0.5 else FAST
    request = Request((User("Do it."),), (TOOL,), mode)
    raw = text if needs_raw(received) and rng.random() < 0.5 else ""
    given = mend(received, request, rng.choice(PROFILES), raw)
    ids = [call.id for call in given.calls]
    if len(set(ids)) < len(ids) or not all(ids):
        return f"ids {ids!r} from {text!r}"
    return None


def stream(rng: random.Random) -> str | None:
    """Whole calls, streamed in one of the ways of proxies: each must be received once."""
    made = [(f"f{n}" if rng.random() < 0.5 else "f", some_call(rng)[1]) for n in range(rng.randint(1, 3))]
    made = [call for n, call in enumerate(made) if call not in made[:n]]  # under one id, the same call is one
    chunks = _streamed(rng, made)
    received = Received()
    for chunk in chunks:
        received.feed(chunk)
    found = [(call.name, json.loads(call.arguments)) for call in received.calls]
    return None if found == made else f"{found!r} of {made!r}, from {chunks!r}"


def _streamed(rng: random.Random, made: list[Call]) -> list[dict[str, Any]]:
    """One way to stream calls, for all of them, in which index or id still tells them apart."""
    index = rng.choice([lambda n: n, lambda n: n + 1, str, lambda n: None, lambda n: 0])
    known = index(1) not in (None, 0)
    id_ = rng.choice(["c{}", "c{}", "same", ""] if known else ["c{}"])
    ids_again, names_again, cumulative, twice = (rng.random() < 0.5 for _ in range(4))
    pieces: list[dict[str, Any]] = []
    for n, (name, arguments) in enumerate(made):
        text = json.dumps(arguments, ensure_ascii=rng.random() < 0.5)
        cuts = sorted(rng.randint(0, len(text)) for _ in range(rng.randint(0, 5)))
        spans = zip([0, *cuts], [*cuts, len(text)], strict=True)
        parts = [text[0 if cumulative else start : end] for start, end in spans]
        parts = ["", *parts] if rng.random() < 0.5 else parts
        for first, part in zip([True] + [False] * len(parts), [*parts, *[text] * twice], strict=False):
            function = {"arguments": part} | ({"name": name} if first or names_again else {})
            each = {"id": id_.format(n)} if first or ids_again else {}
            pieces.append({"index": index(n), "function": function} | each)
    return [{"choices": [{"delta": {"tool_calls": [piece]}}]} for piece in pieces]


def _chunks(rng: random.Random, text: str) -> Iterator[dict[str, Any]]:
    """A stream as a server sends it, or as none should."""
    field = rng.choice(["content", "content", "reasoning", "reasoning_content"])
    while text:
        size = rng.randint(1, max(1, len(text)))
        delta: dict[str, Any] = {field: text[:size]}
        if rng.random() < 0.2:
            function = {"name": rng.choice(["f", "", None, 3]), "arguments": rng.choice([text[:size], "", None, {}])}
            index = rng.choice([0, 0, 1, None, "x"])
            delta = {
                "tool_calls": rng.choice([[{"index": index, "id": rng.choice(["a", None]), "function": function}], 3])
            }
        choice: Any = {"delta": delta, "token_ids": rng.choice([[1, 2], None, ["x"]])}
        yield {"choices": [rng.choice([choice, choice, choice, 3, {"delta": 3}])]}
        text = text[size:]
    yield {"choices": [{"delta": {}, "finish_reason": rng.choice(["stop", "tool_calls", "length", None, 3])}]}


TARGETS: list[Callable[[random.Random], str | None]] = [arguments, recovery, reply, stream]


def play(seeds: tuple[int, int]) -> tuple[Counter[str], list[str]]:
    """So many inputs to each target in turn; returns how many each got, and what went wrong."""
    played, faults = Counter[str](), list[str]()
    for seed in range(*seeds):
        target = TARGETS[seed % len(TARGETS)]
        started = time.process_time()
        try:
            fault = target(random.Random(seed))
        except Exception as error:
            fault = f"raised {error!r}"
        if (seconds := time.process_time() - started) > SECONDS:
            fault = f"took {seconds:.1f} s"
        played[target.__name__] += 1
        if fault:
            faults.append(f"{target.__name__}, seed {seed}: {fault}")
    return played, faults


def main() -> int:
    parser = argparse.ArgumentParser(description="Play damaged model output at what reads it.")
    parser.add_argument("--count", type=int, default=1_000_000, help="inputs in all")
    parser.add_argument("--seed", type=int, default=0, help="where to begin; one seed is one input")
    options = parser.parse_args()
    step, end = 10_000, options.seed + options.count
    parts = [(first, min(first + step, end)) for first in range(options.seed, end, step)]
    total, found = Counter[str](), list[str]()
    with multiprocessing.Pool() as pool:
        for done, (played, faults) in enumerate(pool.imap_unordered(play, parts), 1):
            total += played
            found += faults
            sys.stderr.write(f"\r{total.total():,} inputs, {len(found)} faults ({100 * done // len(parts)} %)")
    sys.stderr.write("\n")
    for fault in found[:20]:
        sys.stdout.write(ascii(fault) + "\n")
    sys.stdout.write(", ".join(f"{name} {count:,}" for name, count in total.items()) + f": {len(found)} faults\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
