"""`VLLM`: chat completions over httpx. A request goes in, deltas and one whole reply come out."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from fastslow.agent.engine.address import Address
from fastslow.agent.engine.cassette import CassetteRecorder
from fastslow.agent.engine.connection import Connection, decode
from fastslow.agent.engine.fenced import STOP, stops_at_opening
from fastslow.agent.engine.mend import count_usage, mend, needs_raw
from fastslow.agent.engine.probe import UNKNOWN, Finding, identity, load, probe, save
from fastslow.agent.engine.profiles import FALLBACK, PROFILES, Profile, find_profile
from fastslow.agent.engine.profiles.overlay import load_rules, overlay_path
from fastslow.agent.engine.reach import Reach
from fastslow.agent.engine.received import Received, as_count, as_mapping, as_text
from fastslow.agent.engine.retries import PATIENCE, RETRIES, Retries, TryAgain
from fastslow.agent.engine.schedule import CONCURRENCY, Scheduler
from fastslow.agent.engine.types import Delta, Finish, Reply, Request
from fastslow.agent.engine.wire import (
    call_block,
    encode_choice,
    encode_history,
    encode_request,
    first_words,
    logprobs_of,
    most_tokens,
    template_kwargs,
    told_tools,
)
from fastslow.agent.errors import ConfigurationError, EngineRefused, EngineUnreachable
from fastslow.agent.modes import FAST, Mode
from fastslow.agent.transcript import Message
from fastslow.tools import Tool

FIRST_RETRIES = 2  # at first contact: a wrong address should be told soon
# Silence between two pieces of an answer. vLLM sends each token as it comes, those of calls too (`return_token_ids`),
# so what may lie between is others' prompts: at most 2,048 tokens a step on a CPU, done in 2 minutes at 17 tokens/s.
STALL_SECONDS = 120.0
COUNT_SECONDS = 5.0  # for the count of tokens behind a whole answer; it goes out at once


@dataclass(frozen=True, slots=True)
class _ServerFacts:
    """What is known of the server after `connect`."""

    model: str
    profile: Profile
    context: int
    findings: tuple[Finding, ...] = ()

    @property
    def notices(self) -> tuple[str, ...]:
        wrong = (f"{f.name}: {f.found}. {f.remedy}".strip() for f in self.findings if not f.ok)
        return (*((self.profile.notice,) if self.profile.notice else ()), *wrong)

    @property
    def budgeted(self) -> bool:
        """Whether a thinking budget may be sent; a server without reasoning parser answers 400 to it."""
        return all(finding.ok for finding in self.findings if finding.name == "budget")


@dataclass(slots=True)
class _Turn:
    """One call of the model while it goes on. stops: whether the stop string is sent, where the turn has one."""

    request: Request
    retries: Retries
    started: float
    received: Received = field(default_factory=Received)
    notes: list[str] = field(default_factory=list)
    stops: bool = True
    done: bool = False


class VLLM:
    """A model on a vLLM server. Implements `Engine`.

    base_url: ends in /v1; None takes FASTSLOW_BASE_URL, else the server that `fastslow up` started. A query, or user
        and password, in it go with each request, and are never shown.
    model: a served id; None takes the only one. api_key: None takes FASTSLOW_API_KEY, and of the server that
        `fastslow up` started its own; it is never shown.
    profile: a profile or its name; None finds it by the model's id.
    timeout: seconds that a server may take to begin an answer, or to go on with one (2 minutes at most).
    retries: of one call, when its answer fails; with 0 nothing is waited for, either.
    patience: seconds that a server which is away or full is waited for.
    concurrency: calls at once, of all runs that share this engine; further ones wait here, fast turns first. The
        default is the least `--max-num-seqs` that vLLM takes by itself; give what your server was started with.
    probe: prove the profile's facts at first contact (about 10 s, kept on disk until the server restarts).
    record: file to which every exchange is appended, for `ReplayModel`.
    """

    def __init__(
        self,
        base_url: str | None = None,
        model: str | None = None,
        api_key: str | None = None,
        profile: Profile | str | None = None,
        timeout: float = 600.0,
        retries: int = RETRIES,
        *,
        patience: float = PATIENCE,
        concurrency: int = CONCURRENCY,
        probe: bool = True,
        record: str | Path | None = None,
    ) -> None:
        self._reach = Reach(base_url, self._open_connection)
        self._model_asked = model
        self._key = api_key
        self._profile = _profile_named(profile) if isinstance(profile, str) else profile
        self._timeout = timeout
        self._retries = retries
        self._patience = patience if retries else 0.0
        self._probing = probe
        self._record = record
        self._scheduler = Scheduler(concurrency)
        self._takes_priority = True  # whether the server takes a priority, as far as is known
        self._served: _ServerFacts | None = None
        self._ids: dict[str, tuple[int, ...]] = {}
        self._served_by: Connection | None = None

    def __repr__(self) -> str:
        connection = self._reach.connection
        address = connection.url if connection else "not connected"
        return f"VLLM({address!r}, model={self.model!r})"

    @property
    def model(self) -> str:
        """The served id; what was asked for, or empty, before `connect`."""
        return self._served.model if self._served else self._model_asked or ""

    @property
    def profile(self) -> Profile:
        return self._facts.profile

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the probe saw; empty when none ran."""
        return self._facts.findings

    @property
    def context(self) -> int:
        """Tokens that prompt and answer may have together."""
        return self._facts.context

    @property
    def _facts(self) -> _ServerFacts:
        if self._served is None:
            raise ConfigurationError("nothing is known about the server yet; call `await engine.connect()` first")
        return self._served

    async def connect(self) -> tuple[str, ...]:
        """Reach the server, find model and profile, probe once. Idempotent, and safe to call concurrently.

        Raises EngineUnreachable, EngineRefused, or ConfigurationError for a model that is not served.
        """
        server = await self._reach.server()
        async with server.lock:
            if self._served_by is not server:
                self._served, self._served_by = await self._identify(server), server
        return self._facts.notices

    async def served(self) -> tuple[str, ...]:
        """The ids of all models that the server serves. Raises what `connect` does."""
        return tuple(await self._listed(await self._reach.server()))

    async def probe(self) -> tuple[Finding, ...]:
        """Probe anew, whatever is on disk."""
        server = await self._reach.server()
        async with server.lock:
            self._served, self._served_by = await self._identify(server, fresh=True), server
        return self._facts.findings

    async def aclose(self) -> None:
        self._served_by = None
        await self._reach.aclose()

    # --- one turn --------------------------------------------------------------------------------

    async def stream(self, request: Request) -> AsyncGenerator[Delta | Reply, None]:
        """Continue the conversation: deltas as they come, then one `Reply` that alone is to be acted upon.

        An answer that breaks off is asked for again from its start, as nothing was done with it yet.
        Raises ContextOverflow, EngineRefused, EngineUnreachable, EngineDied.
        """
        await self.connect()
        if opening := first_words(request, self.profile):
            yield Delta("thinking" if request.mode.thinks else "text", opening)
        async with self._scheduler.turn(request.mode.thinks):
            retries = Retries(self._retries, self._patience)
            turn = _Turn(request, retries, time.monotonic())
            while not turn.done:
                async with aclosing(self._attempt(turn)) as deltas:
                    async for delta in deltas:
                        if delta.kind == "thinking" or not call_block(self.profile, request):
                            yield delta
            reply = await self._reply(turn)
        yield reply

    async def _attempt(self, turn: _Turn) -> AsyncGenerator[Delta, None]:
        """Ask once. The turn is done then, unless something failed that another try may mend."""
        await self.connect()
        server, received = await self._reach.server(), Received()
        turn.received = received
        body = await self._body(turn)
        try:
            async with aclosing(server.stream(f"{server.url}/chat/completions", body, turn.request.session)) as chunks:
                while (together := await self._next_chunks(chunks, server, received)) is not None:
                    for chunk in together:
                        for delta in received.feed(chunk):
                            yield delta
            if not received.whole:
                raise TryAgain(EngineUnreachable(f"the server at {server.url} ended its answer too early"))
        except TryAgain as failure:
            if not received.whole:  # else only its count of tokens is missing
                await self._wait_to_retry(turn, server, failure)
                return
        except EngineRefused as error:
            if "priority" not in body or "priority" not in str(error).lower():
                raise
            self._takes_priority = False
            return
        text = f"{received.reasoning}\n{first_words(turn.request, self.profile)}{received.content}"
        turn.stops = turn.done = received.stop_string != STOP or not stops_at_opening(text)

    async def _next_chunks(
        self, chunks: AsyncGenerator[list[Mapping[str, Any]], None], server: Connection, received: Received
    ) -> list[Mapping[str, Any]] | None:
        """The next pieces of an answer, None at its end. The first may take long, as the server may have a queue."""
        flows = received.started or bool(received.token_ids)
        limit = COUNT_SECONDS if received.whole else STALL_SECONDS
        seconds = min(limit, self._timeout) if flows else self._timeout
        try:
            async with asyncio.timeout(seconds):
                return await anext(chunks, None)
        except TimeoutError:
            if not flows:
                raise server.silence_error(seconds) from None
            text = f"the server at {server.url} fell silent for {seconds:g} s in the middle of an answer; see its log"
            raise TryAgain(EngineUnreachable(text), stalled=True) from None

    async def _wait_to_retry(self, turn: _Turn, server: Connection, failure: TryAgain) -> None:
        """Wait until another try makes sense. Raises the failure's error when none does."""
        if isinstance(failure.error, EngineUnreachable) and await self._reach.follow_restart(server):
            turn.notes.append("The model server was started again; the run goes on there.")
        await turn.retries.wait(failure)
        if turn.received.started:
            turn.notes.append("The server broke off; the answer was asked for again from its start.")

    async def _body(self, turn: _Turn) -> dict[str, Any]:
        """What is sent; built anew for each try, as a server that was started again may have another context."""
        served, request = self._facts, turn.request
        profile, left = served.profile, await self._room_left(request)
        tags = call_block(profile, request) or ()
        ids = {tag: known[0] for tag in tags if len(known := await self._token_ids(tag, request.session)) == 1}
        body = encode_request(request, profile, served.model, left, served.budgeted, ids)
        if request.mode.thinks and self._takes_priority:
            # Lower ones go first. Without --scheduling-policy priority vLLM 0.32 takes no notice of it (tried), while
            # its description of the field announces an error.
            body["priority"] = 1
        if not turn.stops:
            body.pop("stop", None)
        return body

    async def _reply(self, turn: _Turn) -> Reply:
        """The whole reply, mended and counted."""
        received, notes = turn.received, turn.notes
        repeated = received.finish == "repetition"
        if repeated:
            received.finish = "length"  # it is cut off in the same way
            notes.append("The model went round in circles, so the server ended the answer.")
        reply = mend(received, turn.request, self.profile, await self._raw_text(received, turn.request.session))
        thinking = await self._count_thinking(received, reply, turn.request.session)
        usage = count_usage(received, thinking, time.monotonic() - turn.started)
        finish: Finish = "repetition" if repeated else reply.finish
        return replace(reply, usage=usage, finish=finish, notes=(*notes, *reply.notes))

    async def choose(self, request: Request, choices: Sequence[str]) -> Reply:
        """See `Engine.choose`. The choices' first tokens are all that is looked at."""
        await self.connect()
        started = time.monotonic()
        tokens = {choice: (*await self._token_ids(choice, request.session), 0)[0] for choice in choices}
        async with self._scheduler.turn(thinks=False):
            body = encode_choice(request, self.profile, tokens)
            answer = await self._ask("/v1/chat/completions", body, request.session)
        logprobs = logprobs_of(answer, tokens)
        if not logprobs:
            return Reply(notes=("The server gives no log probabilities of tokens, so the task was not looked at.",))
        received = Received()
        received.feed(answer)
        usage = count_usage(received, 0, time.monotonic() - started)
        return Reply(max(logprobs, key=lambda choice: logprobs[choice]), usage=usage, logprobs=logprobs)

    async def _token_ids(self, text: str, session: str) -> tuple[int, ...]:
        """The ids of a text's tokens; none where the server does not tell."""
        if text not in self._ids:
            answer = await self._ask("/tokenize", {"prompt": text, "add_special_tokens": False}, session)
            ids = answer.get("tokens")
            self._ids[text] = tuple(map(as_count, ids)) if isinstance(ids, list) else ()
        return self._ids[text]

    async def count(
        self, messages: Sequence[Message], tools: Sequence[Tool] = (), mode: Mode = FAST, session: str = ""
    ) -> int:
        """Tokens of a prompt as the server's template renders it. Raises EngineRefused without /tokenize."""
        served, server = self._facts, await self._reach.server()
        body: dict[str, Any] = {
            "model": served.model,
            "messages": encode_history(messages, served.profile),
            "chat_template_kwargs": template_kwargs(served.profile, mode),
        }
        if told := told_tools(served.profile, tools):
            body["tools"] = told
        return as_count((await server.post(f"{server.root}/tokenize", body, session)).get("count"))

    async def _room_left(self, request: Request) -> int:
        """Tokens of the context behind the prompt; counted on the server only when it may be tight."""
        context, profile = self._facts.context, self._facts.profile
        wanted = request.mode.budget + (request.answer_tokens or profile.answer_tokens)
        if not context or most_tokens(request) + wanted <= context:
            return wanted
        if request.counted is not None:
            return context - request.counted
        try:
            return context - await self.count(request.messages, request.tools, request.mode, request.session)
        except (EngineRefused, EngineUnreachable):
            return wanted  # the server itself will say whether it fits

    async def _raw_text(self, received: Received, session: str) -> str:
        """The generated text before any parser touched it, when it is needed and the server can tell."""
        if not received.token_ids or not needs_raw(received):
            return ""
        return as_text((await self._ask("/detokenize", {"tokens": received.token_ids}, session)).get("prompt"))

    async def _count_thinking(self, received: Received, reply: Reply, session: str) -> int:
        """Thinking tokens, also where the server counts none: some parsers want `<think>` in the output."""
        details = as_mapping(received.usage.get("completion_tokens_details"))
        counted = as_count(details.get("reasoning_tokens")) or received.thinking_ids
        if counted or not reply.reasoning:
            return counted
        asked = {"prompt": reply.reasoning, "add_special_tokens": False}
        answer = await self._ask("/tokenize", asked, session)
        return as_count(answer.get("count")) or len(reply.reasoning) // 4  # the usual characters a token of English

    async def _ask(self, path: str, body: Mapping[str, Any], session: str) -> Mapping[str, Any]:
        """Ask an endpoint that the server may not offer; empty when it does not, or is gone."""
        server = await self._reach.server()
        try:
            return await server.post(f"{server.root}{path}", {"model": self.model, **body}, session)
        except (EngineRefused, EngineUnreachable):
            return {}

    # --- first contact ---------------------------------------------------------------------------

    def _open_connection(self, base_url: str, key: str) -> Connection:
        address = Address.of(base_url, self._key or key or os.environ.get("FASTSLOW_API_KEY") or "")
        return Connection(address, timeout=self._timeout, retries=self._retries, transport=self._transport(address))

    def _transport(self, address: Address) -> httpx.AsyncBaseTransport | None:
        """How to reach the server, where httpx's own way is not it."""
        if not self._record:
            return None
        return CassetteRecorder(httpx.AsyncHTTPTransport(), Path(self._record), address.hide)

    async def _listed(self, server: Connection) -> dict[str, Mapping[str, Any]]:
        """What the server tells of its models, by their ids."""
        listed = decode(await server.get(f"{server.url}/models", min(self._retries, FIRST_RETRIES))).get("data")
        return {as_text(as_mapping(m).get("id")): as_mapping(m) for m in (listed if isinstance(listed, list) else [])}

    async def _identify(self, server: Connection, fresh: bool = False) -> _ServerFacts:
        """Ask the server what it serves, and prove it."""
        models = await self._listed(server)
        managed = self._reach.managed
        name = self._model_asked or (managed.served_name if managed else "")
        name = name or (next(iter(models)) if len(models) == 1 else "")
        if name not in models:
            ids = ", ".join(models) or "nothing"
            asked = f"the model {name!r} is not served" if name else f"{len(models)} models are served"
            raise ConfigurationError(f"{asked} at {server.url}; pass one of: {ids}")
        started_with = find_profile(managed.profile) if managed else None
        profile = self._profile or started_with or _profile_of(name, as_text(models[name].get("root")))
        if self._profile is None and (path := overlay_path(name)).exists():
            profile = replace(profile, rules=(*load_rules(path), *profile.rules))
        context = as_count(models[name].get("max_model_len"))
        if not self._probing:
            return _ServerFacts(name, profile, context)
        key = await identity(server, name, profile)
        findings = None if fresh else load(key) if key else (UNKNOWN,)
        if findings is None:
            findings = await probe(server, name, profile, context)
            if key:
                save(key, findings)
        return _ServerFacts(name, profile, context, findings)


def _profile_named(name: str) -> Profile:
    profile = find_profile(name)
    if profile.name != name:
        raise ConfigurationError(f"no profile is named {name!r}; the names are {', '.join(p.name for p in PROFILES)}")
    return profile


def _profile_of(model: str, root: str) -> Profile:
    """By the served name, which people choose freely, else by the folder or hub id behind it."""
    profile = find_profile(model)
    return find_profile(root) if profile is FALLBACK else profile
