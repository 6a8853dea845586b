"""HTTP to one vLLM server: JSON calls and streams, with retries, and its failures in this package's words."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn

import httpx

from agent.engine.received import as_mapping, as_text
from agent.errors import ContextOverflow, EngineError, EngineRefused, EngineUnreachable

RETRIES = 5
FIRST_PAUSE = 0.5  # seconds; doubles with each retry, and the actual pause is drawn between 0 and it ("full jitter")
LONGEST_PAUSE = 10.0  # https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
LONGEST_RETRY_AFTER = 60.0  # a server that asks for more is not waited for
CONNECT_SECONDS = 10.0
_LOOPBACK = {"localhost", "127.0.0.1", "::1", "[::1]"}
_PASSING = {429, 500, 502, 503, 504}
_OVERFLOW = ("maximum context length", "max_model_len", "longer than the maximum model length")
_REMEDIES = {
    "enable-auto-tool-choice": "Start the server with --enable-auto-tool-choice and --tool-call-parser.",
    "thinking_token_budget": "Start the server with --reasoning-parser, or --reasoning-config with the tags.",
    "chat template": "Start the server with --chat-template.",
}


class TryAgain(Exception):
    """A failure that may pass. error: what to raise when it does not. pause: seconds, if the server says."""

    def __init__(self, error: EngineError, pause: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.pause = pause


class Retries:
    """Counts the failures of one call and waits between them."""

    def __init__(self, most: int) -> None:
        self.left = most
        self.used = 0

    async def wait(self, failure: TryAgain) -> None:
        """Sleep before the next try. Raises the failure's error when no try is left."""
        if self.used >= self.left or (failure.pause or 0) > LONGEST_RETRY_AFTER:
            raise failure.error from failure
        pause = random.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2**self.used))  # noqa: S311
        self.used += 1
        await asyncio.sleep(pause + (failure.pause or 0))


class Connection:
    """One server, for one event loop. The key is in its headers and nowhere else."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout: float = 600.0,
        retries: int = RETRIES,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        url = httpx.URL(base_url)
        self.loop = asyncio.get_running_loop()
        self.lock = asyncio.Lock()
        self.url = str(url.copy_with(username=None, password=None)) if url.userinfo else base_url
        self.root = self.url.removesuffix("/v1")
        self.timeout = timeout
        self._retries = retries
        self._key = api_key
        self._client = httpx.AsyncClient(
            auth=(url.username, url.password) if url.userinfo else None,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else None,
            timeout=httpx.Timeout(timeout, connect=CONNECT_SECONDS, pool=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
            transport=transport,
            trust_env=url.host not in _LOOPBACK,  # a proxy has no way to this machine
        )

    async def aclose(self) -> None:
        await self._client.aclose()

    async def get(self, url: str, retries: int | None = None) -> httpx.Response:
        return await self._call("GET", url, None, retries)

    async def post(self, url: str, body: Mapping[str, Any], retries: int | None = None) -> Mapping[str, Any]:
        """POST JSON, return the JSON object that comes back (empty for anything else)."""
        return decode(await self._call("POST", url, body, retries))

    async def _call(self, method: str, url: str, body: Mapping[str, Any] | None, most: int | None) -> httpx.Response:
        retries = Retries(self._retries if most is None else most)
        while True:
            try:
                response = await self._client.request(method, url, json=body)
                self._check(response)
            except httpx.HTTPError as error:
                await retries.wait(self._failure(error))
            except TryAgain as failure:
                await retries.wait(failure)
            else:
                return response

    async def stream(self, url: str, body: Mapping[str, Any]) -> AsyncGenerator[Mapping[str, Any], None]:
        """POST JSON, yield the JSON objects of the event stream, or the one of a server that does not stream.

        Raises TryAgain for a failure that may pass, before or inside the stream: the caller knows what it has
        shown. Closing the generator closes the connection, which makes vLLM stop generating.
        """
        try:
            async with self._client.stream("POST", url, json=body) as response:
                if response.is_error:
                    await response.aread()
                    self._check(response)
                if "text/event-stream" not in response.headers.get("content-type", ""):
                    await response.aread()
                    yield decode(response)
                    return
                async with aclosing(_events(response.aiter_bytes())) as events:
                    async for event in events:
                        yield self._event(event)
        except httpx.HTTPError as error:
            raise self._failure(error) from error

    def _event(self, event: str) -> Mapping[str, Any]:
        """One event's JSON. vLLM reports an error in mid-stream as an event of its own."""
        try:
            chunk = as_mapping(json.loads(event))
        except ValueError as error:
            raise TryAgain(
                EngineUnreachable(f"the server at {self.url} broke off in the middle of an event")
            ) from error
        if told := as_mapping(chunk.get("error")):
            code = told.get("code")
            self._refuse(code if isinstance(code, int) else 500, as_text(told.get("message")))
        return chunk

    def _check(self, response: httpx.Response) -> None:
        if response.is_success:
            return
        message = as_text(as_mapping(decode(response).get("error")).get("message")) or response.text
        self._refuse(response.status_code, message, _retry_after(response.headers.get("retry-after", "")))

    def _refuse(self, status: int, message: str, pause: float | None = None) -> NoReturn:
        """Raise what an error answer means."""
        message = " ".join(message.split())[:500]
        if self._key:
            message = message.replace(self._key, "[key]")
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
        if status in _PASSING:
            raise TryAgain(refused, pause)
        raise refused

    def _failure(self, error: httpx.HTTPError) -> TryAgain:
        """What a transport's failure means. A server that stays silent is not asked again."""
        if isinstance(error, httpx.ReadTimeout):
            raise EngineUnreachable(
                f"the server at {self.url} said nothing for {self.timeout:g} s; pass a larger timeout"
            ) from error
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            text = f"no server answers at {self.url}; start one with `fastslow up`, or pass the address of yours"
        elif isinstance(error, httpx.TransportError):
            text = f"the server at {self.url} broke off ({type(error).__name__}); see its log"
        else:
            raise EngineUnreachable(f"the server at {self.url} gave what is not HTTP: {error}") from error
        return TryAgain(EngineUnreachable(text))


def decode(response: httpx.Response) -> Mapping[str, Any]:
    """A body's JSON object; empty when it is none."""
    try:
        return as_mapping(response.json())
    except ValueError:
        return {}


async def _events(chunks: AsyncIterator[bytes]) -> AsyncGenerator[str, None]:
    """The data of server-sent events up to `[DONE]`.

    Split at line feeds alone: httpx's own line reader also splits at U+2028 and its like, which JSON may
    hold raw.
    """
    buffer = b""
    async for chunk in chunks:
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            if not line.startswith(b"data:"):
                continue
            data = line.removeprefix(b"data:").decode("utf-8", "replace").strip()
            if data == "[DONE]":
                return
            yield data


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
    except ValueError:
        return None
    return max(0.0, (when - datetime.now(UTC)).total_seconds()) if when.tzinfo else None
