"""HTTP to one vLLM server: JSON calls and streams, with retries, and its failures in this package's words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, NoReturn

import httpx

from fastslow.agent.engine.address import Address
from fastslow.agent.engine.received import as_count, as_mapping, as_text, events
from fastslow.agent.engine.retries import RETRIES, Retries, TryAgain
from fastslow.agent.errors import ContextOverflow, EngineRefused, EngineUnreachable

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 30.0  # for what generates nothing: /models, /tokenize, the text of an error
LARGEST = 256 << 20  # bytes of one answer; 128K tokens are 30 MB when each is an event of its own
SHARED = 8  # connections of one httpx client
_LOOPBACK = {"localhost", "127.0.0.1", "::1", "[::1]"}
_AWAY = {429, 502, 503, 504}
_JSON = {"Content-Type": "application/json"}
SESSION = "X-Session-ID"  # vllm-router keeps a session on one server by it; vLLM 0.32 only tells it in KV events
_OVERFLOW = ("maximum context length", "max_model_len", "longer than the maximum model length")
_REMEDIES = {
    "enable-auto-tool-choice": "Start the server with --enable-auto-tool-choice and --tool-call-parser.",
    "thinking_token_budget": "Start the server with --reasoning-parser, or --reasoning-config with the tags.",
    "chat template": "Start the server with --chat-template.",
}


class Clients:
    """httpx clients of a few connections each, made as they are needed.

    httpx compares all connections of a client with one another for each request, so 128 of them in one client cost
    five times the CPU of 128 in sixteen (https://github.com/encode/httpcore/pull/1035).
    """

    def __init__(self, make: Callable[[], httpx.AsyncClient]) -> None:
        self._make = make
        self._busy: dict[httpx.AsyncClient, int] = {}

    @contextmanager
    def client(self) -> Iterator[httpx.AsyncClient]:
        """The first client with room, so that few requests use few connections over and over."""
        client = next((each for each, busy in self._busy.items() if busy < SHARED), None) or self._make()
        self._busy[client] = self._busy.get(client, 0) + 1
        try:
            yield client
        finally:
            self._busy[client] -= 1

    async def aclose(self) -> None:
        for client in self._busy:
            await client.aclose()


class _Shown(httpx.URL):
    """A URL whose text has no query, as httpx writes it into its log."""

    def __str__(self) -> str:
        return str(self.copy_with(query=None))


class Connection:
    """One server, for one event loop. What is secret in its address goes with the requests and nowhere else."""

    def __init__(
        self,
        address: Address,
        *,
        timeout: float = 600.0,
        retries: int = RETRIES,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.lock = asyncio.Lock()
        self.gone: float | None = None  # when the server was first seen to have ended
        self.url, self.root = address.url, address.root
        self.timeout = timeout
        self._address = address
        self._retries = retries
        trust_env = httpx.URL(address.url).host not in _LOOPBACK  # a proxy has no way to this machine
        make = partial(
            httpx.AsyncClient,
            auth=address.login,
            headers={"Authorization": f"Bearer {address.key}"} if address.key else None,
            event_hooks={"request": [self._add_query]} if address.query else None,
            # who reads a stream counts the seconds of silence and knows what they mean; this is behind it
            timeout=httpx.Timeout(timeout + 1, connect=CONNECT_SECONDS, pool=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
            transport=transport,
            trust_env=trust_env,
            verify=httpx.create_ssl_context(trust_env=trust_env),
        )
        self._clients = Clients(make)

    async def _add_query(self, request: httpx.Request) -> None:
        request.url = _Shown(request.url, query=self._address.query.encode())

    async def aclose(self) -> None:
        await self._clients.aclose()

    async def get(self, url: str, retries: int | None = None) -> httpx.Response:
        return await self._call("GET", url, None, retries)

    async def post(self, url: str, body: Mapping[str, Any], session: str = "") -> Mapping[str, Any]:
        """POST JSON, return the JSON object that comes back (empty for anything else)."""
        return decode(await self._call("POST", url, body, session=session))

    async def _call(
        self, method: str, url: str, body: Mapping[str, Any] | None, most: int | None = None, session: str = ""
    ) -> httpx.Response:
        """Ask for something that generates nothing, and so is answered soon."""
        retries = Retries(self._retries if most is None else most)
        seconds = min(ANSWER_SECONDS, self.timeout)
        while True:
            try:
                with self._clients.client() as client:
                    async with asyncio.timeout(seconds):
                        response = await client.request(method, url, content=_encode(body), headers=_headers(session))
                self._check(response.status_code, response.headers, response.content)
            except TimeoutError:
                await retries.wait(TryAgain(EngineUnreachable(f"{url} gave no answer within {seconds:g} s")))
            except httpx.HTTPError as error:
                await retries.wait(self._failure(error))
            except TryAgain as failure:
                await retries.wait(failure)
            else:
                return response

    async def stream(
        self, url: str, body: Mapping[str, Any], session: str = ""
    ) -> AsyncGenerator[list[Mapping[str, Any]], None]:
        """POST JSON, yield the JSON objects of the event stream, or the one of a server that does not stream; those
        that came together, together.

        Raises TryAgain for a failure that may pass, before or inside the stream: the caller knows what it has
        shown. Closing the generator closes the connection, which makes vLLM stop generating.
        """
        try:
            async with AsyncExitStack() as stack:
                client = stack.enter_context(self._clients.client())
                sent = client.stream("POST", url, content=_encode(body), headers=_headers(session))
                response = await stack.enter_async_context(sent)
                if not response.is_success:
                    self._check(response.status_code, response.headers, await _error_body(response))
                kind = response.headers.get("content-type", "")
                parts = await stack.enter_async_context(aclosing(self._parts(response)))
                if "text/event-stream" not in kind:
                    yield [self._unstreamed(kind, b"".join([part async for part in parts]))]
                    return
                said = await stack.enter_async_context(aclosing(events(parts)))
                async for together in said:
                    good: list[Mapping[str, Any]] = []
                    try:
                        good.extend(map(self._event, together))
                    except (TryAgain, EngineRefused, ContextOverflow):
                        yield good  # what came before the failure was said
                        raise
                    yield good
        except httpx.HTTPError as error:
            raise self._failure(error) from error

    async def _parts(self, response: httpx.Response) -> AsyncGenerator[bytes, None]:
        """A body's bytes, of which there must be an end."""
        size = 0
        async for part in response.aiter_bytes():
            size += len(part)
            if size > LARGEST:
                raise EngineUnreachable(f"the server at {self.url} sent {LARGEST:,} bytes and came to no end")
            yield part

    def _unstreamed(self, kind: str, body: bytes) -> Mapping[str, Any]:
        """The answer of a server that does not stream."""
        if not as_mapping(_json(body)):
            text = self._told(body.decode("utf-8", "replace"))
            raise TryAgain(
                EngineUnreachable(f"{self.url} sent {kind or 'something'} where JSON or events were expected: {text}")
            )
        return self._event(body)

    def _event(self, event: bytes) -> Mapping[str, Any]:
        """One event's JSON. vLLM reports an error in mid-stream as an event of its own."""
        chunk = _json(event)
        if not isinstance(chunk, dict):
            raise TryAgain(EngineUnreachable(f"the server at {self.url} broke off in the middle of an event"))
        if told := chunk.get("error"):
            code = as_count(as_mapping(told).get("code"))
            self._raise_for_status(code if 400 <= code < 600 else 500, _error_message(chunk) or str(told))
        return chunk

    def _check(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        if not 200 <= status < 300:
            message = _error_message(as_mapping(_json(body))) or body.decode("utf-8", "replace")
            self._raise_for_status(status, message, _retry_after(headers.get("retry-after", "")))

    def _raise_for_status(self, status: int, message: str, pause: float | None = None) -> NoReturn:
        """Raise what an error answer means."""
        message = self._told(message)
        if any(text in message for text in _OVERFLOW):
            raise ContextOverflow(
                f"the prompt does not fit the served context: {message} "
                "Serve the model with a larger --max-model-len, or give it less text."
            )
        if status in {401, 403}:
            remedy = "Pass the server's key: VLLM(api_key=...) or FASTSLOW_API_KEY."
        elif status == 404:
            remedy = "Check the base URL (it ends in /v1) and the model id."
        else:
            remedy = next((remedy for text, remedy in _REMEDIES.items() if text in message), "")
        refused = EngineRefused(
            f"the server at {self.url} answered {status}: {message} {remedy}".strip(), status=status
        )
        if status == 408 or status == 429 or (status >= 500 and status != 501):
            raise TryAgain(refused, pause, away=status in _AWAY)
        raise refused

    def _told(self, text: str) -> str:
        """What is told of a text that came, on one line."""
        return " ".join(self._address.hide(text).split())[:500]

    def silence_error(self, seconds: float) -> EngineUnreachable:
        """The error of a server that takes a request and does not begin to answer. It is not asked again."""
        return EngineUnreachable(f"the server at {self.url} said nothing for {seconds:g} s; pass a larger timeout")

    def _failure(self, error: httpx.HTTPError) -> TryAgain:
        """What a transport's failure means."""
        if isinstance(error, httpx.ReadTimeout):
            raise self.silence_error(self.timeout) from error
        told = self._told(f"{type(error).__name__}: {error}".rstrip(": "))
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            remedy = "start one with `fastslow up`, or pass the address of yours"
            text = f"no server answers at {self.url} ({told}); {remedy}"
            return TryAgain(EngineUnreachable(text), away=True)
        if isinstance(error, httpx.TransportError):
            return TryAgain(EngineUnreachable(f"the server at {self.url} broke off ({told}); see its log"))
        raise EngineUnreachable(f"the server at {self.url} gave what is not HTTP ({told})") from error


def decode(response: httpx.Response) -> Mapping[str, Any]:
    """A body's JSON object; empty when it is none."""
    try:
        return as_mapping(response.json())
    except ValueError:
        return {}


def _json(text: bytes) -> Any:
    """What a text holds as JSON; None for what is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _headers(session: str) -> Mapping[str, str]:
    return {**_JSON, SESSION: session} if session else _JSON


def _encode(body: Mapping[str, Any] | None) -> bytes | None:
    """JSON in UTF-8, also of texts that hold half a surrogate pair, as broken tools and files yield them."""
    if body is None:
        return None
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _error_message(body: Mapping[str, Any]) -> str:
    """The message of an error's body: vLLM's `{"error": {"message"}}`, or those that proxies and older servers send."""
    error = body.get("error")
    return as_text(as_mapping(error).get("message")) or as_text(error) or as_text(body.get("message"))


async def _error_body(response: httpx.Response) -> bytes:
    """The text of an error as far as it comes soon: its status is known already."""
    body = b""
    with suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(ANSWER_SECONDS):
            async for part in response.aiter_bytes():
                body += part
                if len(body) > 1 << 16:
                    break
    return body


def _retry_after(value: str) -> float | None:
    """Seconds to wait, from a header that holds seconds or a date."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (when - datetime.now(UTC)).total_seconds()) if when.tzinfo else None
