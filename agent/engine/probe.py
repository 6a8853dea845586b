"""Proves on a live server that the profile's facts hold: switch, parsers, budget, grammar, cache.

Servers accept what they do not know in silence (`guided_json`, a kwarg that the template ignores), so nothing
but trying tells. Every finding that is not ok names the server flag that mends it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jsonschema
from platformdirs import user_cache_dir

from fastslow.agent.engine.connection import Connection
from fastslow.agent.engine.profiles import Profile
from fastslow.agent.engine.received import Received, as_count, as_mapping
from fastslow.agent.engine.retries import RETRIES, Retries, TryAgain
from fastslow.agent.engine.wire import is_object, template_kwargs
from fastslow.agent.errors import ContextOverflow, EngineRefused, EngineUnreachable
from fastslow.agent.modes import FAST, Mode

LEAST_CONTEXT = 8192  # tokens; a plan, some results and an answer
TAIL = 12  # tokens of a prompt's end in which a switch of mode may differ
BUDGET = 8  # thinking tokens allowed in the trial

_TOOL: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "report",
        "description": "Report a reading.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {
                "level": {"type": "string", "enum": ["low", "high"]},
                "count": {"type": "integer"},
            },
            "required": ["level", "count"],
            "additionalProperties": False,
        },
    },
}
_CHOICES = ("blue-17", "green-42")
# Longer than one block of the prefix cache (by itself the CPU backend takes 128 tokens), or no hit could be seen.
_SYSTEM = "You take readings from a row of instruments and answer in one short sentence. " + " ".join(
    f"Instrument {n} shows {n * 7 % 10} units." for n in range(1, 21)
)
_TASK = {"role": "user", "content": "How many units does instrument 3 show? Think about it, then answer."}


@dataclass(frozen=True, slots=True)
class Finding:
    """One proven or disproven fact. found: what was seen. remedy: what to do; empty when ok."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


async def probe(server: Connection, model: str, profile: Profile, context: int) -> tuple[Finding, ...]:
    """Try everything out, in about 10 s on a slow server. context: tokens; 0 if unknown."""
    trial = _Trial(server, model, profile)
    fast = await trial.fast()  # first and alone: it fills the prefix cache and warms the grammar
    switch, think, strict, constraint = await asyncio.gather(
        trial.switch(), trial.think(), trial.strict(), trial.constraint()
    )
    return (_context(context), *switch, *fast, *think, strict, constraint, trial.cache())


def _context(tokens: int) -> Finding:
    enough = tokens >= LEAST_CONTEXT
    remedy = "" if enough else f"Start the server with --max-model-len of at least {LEAST_CONTEXT}."
    return Finding("context", enough, f"{tokens} tokens" if tokens else "the server does not say", remedy)


class _Trial:
    """The requests of one probe. `seen`: the most prompt tokens that any answer had from the cache."""

    def __init__(self, server: Connection, model: str, profile: Profile) -> None:
        self.server = server
        self.model = model
        self.profile = profile
        self.seen = 0

    async def ask(self, mode: Mode, max_tokens: int, **fields: Any) -> Received:
        body = {
            "model": self.model,
            "messages": [{"role": "system", "content": _SYSTEM}, _TASK],
            "tools": [_TOOL],
            "tool_choice": "none",
            "temperature": 0.0,
            "max_tokens": max_tokens,
            "chat_template_kwargs": template_kwargs(self.profile, mode),
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_token_ids": True,
            **fields,
        }
        url = f"{self.server.url}/chat/completions"
        received, retries = Received(), Retries(RETRIES)
        while not received.finish:
            received = Received()
            try:
                async with aclosing(self.server.stream(url, body)) as chunks:
                    async for together in chunks:
                        for chunk in together:
                            received.feed(chunk)
                if not received.finish:
                    raise TryAgain(EngineUnreachable(f"the server at {url} ended an answer too early"))
            except TryAgain as failure:
                await retries.wait(failure)
        details = as_mapping(received.usage.get("prompt_tokens_details"))
        self.seen = max(self.seen, as_count(details.get("cached_tokens")))
        return received

    async def tokens(self, mode: Mode, tools: bool = True) -> list[int]:
        """The prompt of a conversation with a past answer and a tool result, as token ids."""
        call = {
            "id": "c1",
            "type": "function",
            "function": {"name": "report", "arguments": '{"level": "low", "count": 1}'},
        }
        body = {
            "model": self.model,
            "messages": [
                {"role": "system", "content": _SYSTEM},
                _TASK,
                {"role": "assistant", "content": "Let me see.", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": "Done."},
            ],
            "add_generation_prompt": True,
            "chat_template_kwargs": template_kwargs(self.profile, mode),
            **({"tools": [_TOOL]} if tools else {}),
        }
        answer = await self.server.post(f"{self.server.root}/tokenize", body)
        ids = answer.get("tokens")
        return [n for n in ids if isinstance(n, int)] if isinstance(ids, list) else []

    async def switch(self) -> tuple[Finding, ...]:
        """Does the switch change the prompt, and only its end? Does the template show tools at all?"""
        try:
            fast, think, bare = await asyncio.gather(
                self.tokens(FAST), self.tokens(Mode(BUDGET)), self.tokens(FAST, tools=False)
            )
        except (EngineRefused, ContextOverflow) as error:
            return (
                Finding(
                    "switch",
                    False,
                    f"prompts cannot be compared: {error}",
                    "Let the server's /tokenize through.",
                ),
            )
        template = self.profile.template
        own = f"--chat-template {template}" if template else "the model's own chat template (no --chat-template)"
        same = next(
            (n for n, (a, b) in enumerate(zip(fast, think, strict=False)) if a != b),
            min(len(fast), len(think)),
        )
        tail = max(len(fast), len(think)) - same
        switch = Finding(
            "switch",
            fast != think,
            f"{self.profile.kwarg} changes the last {tail} tokens of the prompt"
            if fast != think
            else f"{self.profile.kwarg} does not change the prompt",
            "" if fast != think else f"Start the server with {own}.",
        )
        kept = tail <= TAIL or not self.profile.switch_keeps_prefix
        found = f"{same} of {len(fast)} tokens stay the same when the mode changes"
        prefix = Finding("prefix", kept, found, "" if kept else f"Start the server with {own}.")
        shown = fast != bare
        tools = Finding(
            "tools",
            shown,
            "in the prompt" if shown else "not in the prompt",
            "" if shown else f"Start the server with {own}.",
        )
        return switch, prefix, tools

    async def fast(self) -> tuple[Finding, ...]:
        """Does a fast answer arrive in the content, and does the server take tools?"""
        parser = f"--enable-auto-tool-choice --tool-call-parser {self.profile.tool_parser}"
        auto = Finding("calls", True, "tools are accepted")
        try:
            received = await self.ask(FAST, 8, tool_choice="auto")
        except EngineRefused as error:
            auto = Finding("calls", False, str(error), f"Start the server with {parser}.")
            received = await self.ask(FAST, 8)
        opening, closing = self.profile.tags
        clean = bool(received.content.strip() or received.calls) and not received.reasoning
        clean = clean and opening not in received.content and closing not in received.content
        where = (
            "content" if clean else "reasoning" if received.reasoning else "neither content nor reasoning, or with tags"
        )
        remedy = "" if clean else f"Start the server with --reasoning-parser {self.profile.reasoning_parser}."
        return auto, Finding("fast answer", clean, f"arrives in {where}", remedy)

    async def think(self) -> tuple[Finding, ...]:
        """Do thoughts arrive as reasoning, and does their budget hold?"""
        remedy = f"Start the server with --reasoning-parser {self.profile.reasoning_parser}."
        flags = " ".join(self.profile.server_flags)
        if self.profile.switch == "none":
            return ()
        held_open = {"logit_bias": await self._against_closing(), "min_tokens": 2 * BUDGET}
        try:
            received = await self.ask(Mode(BUDGET), 4 * BUDGET, thinking_token_budget=BUDGET, **held_open)
            details = as_mapping(received.usage.get("completion_tokens_details"))
            used = max(received.thinking_ids, as_count(details.get("reasoning_tokens")))
            held = used <= 2 * BUDGET and bool(received.content.strip())
            found = f"{used} thinking tokens of {BUDGET} allowed, then {'an' if held else 'no'} answer"
        except EngineRefused as error:
            received = await self.ask(Mode(BUDGET), 4 * BUDGET, **held_open)
            held, found = False, f"refused: {error}"
        apart = bool(received.reasoning.strip()) and self.profile.tags[1] not in received.content
        where = "arrive as reasoning" if apart else "do not arrive as reasoning"
        return (
            Finding("thoughts", apart, where, "" if apart else remedy),
            Finding("budget", held, found, "" if held else f"{remedy} {flags}".strip()),
        )

    async def _against_closing(self) -> dict[str, float]:
        """Keeps the model from closing its thoughts: there are some then, and the budget has to end them."""
        body = {"model": self.model, "prompt": self.profile.tags[1], "add_special_tokens": False}
        try:
            ids = (await self.server.post(f"{self.server.root}/tokenize", body)).get("tokens")
        except EngineRefused:
            return {}
        return {str(ids[0]): -100.0} if isinstance(ids, list) and len(ids) == 1 else {}

    async def strict(self) -> Finding:
        """Does a forced strict call obey its schema, when the model is asked to break it?"""
        remedy = (
            f"Start the server with --enable-auto-tool-choice --tool-call-parser {self.profile.tool_parser} "
            "--tool-strict-level parameter."
        )
        wish = {"role": "user", "content": "Report the level 'purple' with the count 'many'."}
        forced = {"type": "function", "function": {"name": "report"}}
        messages = [{"role": "system", "content": _SYSTEM}, wish]
        try:
            received = await self.ask(FAST, 64, messages=messages, tool_choice=forced)
        except EngineRefused as error:
            return Finding("strict calls", False, str(error), remedy)
        arguments = received.calls[0].arguments if received.calls else ""
        schema = _TOOL["function"]["parameters"]
        ok = is_object(arguments) and jsonschema.Draft202012Validator(schema).is_valid(json.loads(arguments))
        found = "obey their schema" if ok else f"do not obey their schema: {arguments[:80]!r}"
        return Finding("strict calls", ok, found, "" if ok else remedy)

    async def constraint(self) -> Finding:
        """Do structured outputs work? vLLM drops fields that it does not know without a word."""
        remedy = "Use vLLM 0.12 or newer, which knows `structured_outputs`."
        try:
            received = await self.ask(FAST, 12, structured_outputs={"choice": list(_CHOICES)})
        except EngineRefused as error:
            return Finding("constraints", False, str(error), remedy)
        ok = received.content.strip() in _CHOICES
        found = "structured outputs are obeyed" if ok else f"not obeyed: {received.content[:60]!r}"
        return Finding("constraints", ok, found, "" if ok else remedy)

    def cache(self) -> Finding:
        ok = self.seen > 0
        found = f"{self.seen} prompt tokens came from the prefix cache" if ok else "no cached tokens are reported"
        return Finding("cache", ok, found, "" if ok else "Start the server with --enable-prompt-tokens-details.")


# --- the findings on disk ------------------------------------------------------------------------


UNKNOWN = Finding(
    "server",
    False,
    "it does not say that it is vLLM, so nothing was tried on it",
    "`fastslow doctor --base-url` tries switch, parsers and grammar all the same.",
)


async def identity(server: Connection, model: str, profile: Profile) -> str:
    """A key for what was probed: address, model, profile, vLLM's version, start time of the server. Empty where that is
    not vLLM, or a proxy that passes /v1 alone."""
    started = ""
    try:
        version = (await server.get(f"{server.root}/version")).text
        metrics = (await server.get(f"{server.root}/metrics")).text
    except EngineRefused:
        return ""
    if match := re.search(r"^process_start_time_seconds (\S+)", metrics, re.MULTILINE):
        started = match[1]
    text = json.dumps([server.url, model, profile.name, version, started])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def load(key: str) -> tuple[Finding, ...] | None:
    """Findings of an earlier probe; None when there are none, or none that can be read."""
    try:
        entries = json.loads(_path(key).read_text("utf-8"))
        return tuple(Finding(**entry) for entry in entries)
    except (OSError, ValueError, TypeError):
        return None


def save(key: str, findings: tuple[Finding, ...]) -> None:
    """Keep findings for the next process. A cache folder that cannot be written is no reason to stop."""
    path = _path(key)
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps([asdict(finding) for finding in findings]), "utf-8")
        part.replace(path)
    except OSError:
        return


def _path(key: str) -> Path:
    return Path(user_cache_dir("fastslow")) / "probe" / f"{key}.json"
