"""Where a server is, with what is secret in its address kept apart from what may be shown."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus, unquote_plus

import httpx

from fastslow.agent.errors import ConfigurationError

LEAST = 6  # characters of a value in a query that is hidden wherever it stands; a shorter one is `true`, or `v1`
_SEPARATORS = "@?#="  # behind and before these, a text that is no address may hold a key


@dataclass(frozen=True, slots=True)
class Address:
    """An address that can be asked. url: what may be shown. query: goes with each request. login: user and password.
    key: the server's."""

    url: str
    query: str = field(default="", repr=False)
    login: tuple[str, str] | None = field(default=None, repr=False)
    key: str = field(default="", repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, base_url: str, key: str = "") -> Address:
        """Read a base URL; a bare host gets the `/v1` that vLLM serves. Raises ConfigurationError, without a secret.

        >>> Address.of("http://me:word@host:8000?api_key=secret").url
        'http://host:8000/v1'
        """
        shown = "another one" if set(_SEPARATORS) & set(str(base_url)) else repr(base_url)
        try:
            url = httpx.URL(base_url)
        except (httpx.InvalidURL, TypeError):
            url = httpx.URL()  # what httpx says of it may quote a password
        if url.scheme not in {"http", "https"} or not url.host or url.fragment or len(str(base_url).split()) > 1:
            raise ConfigurationError(
                f"a base URL looks like http://127.0.0.1:8000/v1, got {shown}; several servers are a Pool([...])"
            )
        query, login = url.query.decode(), (url.username, url.password) if url.userinfo else None
        bare = str(url.copy_with(username=None, password=None, query=None, fragment=None)).rstrip("/")
        bare += "" if url.path.strip("/") else "/v1"
        key = key.strip()  # a file's line break is no part of it
        return cls(bare, query, login, key, _secrets(query, login, key))

    @property
    def root(self) -> str:
        return self.url.removesuffix("/v1")

    def hide(self, text: str) -> str:
        """A text, as of a server's error, without what is secret in this address."""
        return re.sub("|".join(map(re.escape, self.secrets)), "[key]", text) if self.secrets else text


def _secrets(query: str, login: tuple[str, str] | None, key: str) -> tuple[str, ...]:
    """All that must not be shown, in each form in which it may come back in a text, the longest first."""
    values = [value if separator else name for name, separator, value in (p.partition("=") for p in query.split("&"))]
    values += [unquote_plus(value) for value in values]
    found = {query, key, *(value for value in values if len(value) >= LEAST)}
    if login:
        user, password = login
        found |= {password or user, b64encode(f"{user}:{password}".encode()).decode()}
    written = {form(value) for value in found for form in (str, quote, quote_plus, _in_json, _in_bytes)}
    return tuple(sorted(written - {""}, key=len, reverse=True))


def _in_json(value: str) -> str:
    return json.dumps(value)[1:-1]


def _in_bytes(value: str) -> str:
    return repr(value.encode())[2:-1]
