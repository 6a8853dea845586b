"""Keys in an address, or beside it, go to the server and are shown nowhere."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from asking import ASK
from fake_server import CHAT, Answer, FakeServer, Seen, delta, said, serving

from fastslow import Agent, ConfigurationError, Journal
from fastslow.agent.engine.address import Address
from fastslow.agent.engine.client import VLLM
from fastslow.agent.engine.types import Request
from fastslow.agent.errors import EngineError
from fastslow.agent.surfaces.cli.doctor import doctor

SECRET = 's3cr/t+ä "1'  # what must be written in other ways in a URL, in JSON and in a form
IN_URL = "s3cr%2Ft%2B%C3%A4%20%221"
PARTS = ("s3cr", "%22", "s3cr/t")


class Echo(FakeServer):
    """Refuses what has no key, and tells all that it got in each refusal, as some proxies do."""

    refuses = True

    def answer(self, seen: Seen) -> Answer:
        path, _, _ = seen.path.partition("?")
        told = f"{seen.path} {json.dumps(seen.headers)} {json.dumps(seen.headers, ensure_ascii=False)} {SECRET}"
        if path == CHAT and self.refuses:
            return Answer(body={"error": {"message": told}, "url": seen.path}, status=403)
        return super().answer(Seen(path, seen.headers, seen.json))


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    async with serving(Echo()) as server:
        yield server


def _with_secret(url: str, how: str) -> dict[str, str]:
    match how:
        case "query":
            return {"base_url": f"{url}?api_key={IN_URL}&v=1"}
        case "query without a path":
            return {"base_url": f"{url.removesuffix('/v1')}?{IN_URL}"}
        case "login":
            return {"base_url": url.replace("//", f"//me:{IN_URL}@")}
        case "user":
            return {"base_url": url.replace("//", f"//{IN_URL}@")}
    return {"base_url": url, "api_key": "s3cr/t"}


def _files(folder: Path) -> list[str]:
    found = [path.read_bytes().decode("utf-8", "replace") for path in folder.iterdir() if path.is_file()]
    assert len(found) > 1
    return found


@pytest.mark.parametrize("how", ["query", "query without a path", "login", "user", "key"])
async def test_a_secret_reaches_the_server_and_nothing_else(
    echo: Echo, how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    given = _with_secret(echo.url, how)
    monkeypatch.setenv("FASTSLOW_BASE_URL", given.pop("base_url"))
    shown = []
    journal = Journal(tmp_path / "runs.db")
    for refuses in (True, False):
        echo.refuses, echo.answers = refuses, [said("Yes.")]
        engine = VLLM(profile="exaone4", probe=False, record=tmp_path / "tape.jsonl", retries=0, **given)
        result = await Agent(engine=engine, sandbox=None, journal=journal).run("Do it.")
        shown += [repr(engine), repr(result.events), result.reason, *map(str, await engine.connect())]
        await engine.aclose()
    assert result.answer == "Yes."
    sent = echo.seen[-1]
    assert {"query": IN_URL, "key": "Bearer s3cr/t"}.get(how, "") in sent.path + sent.headers.get("authorization", "")
    assert sent.path.startswith(CHAT)
    assert how.startswith("query") or sent.headers["authorization"]
    prompts = [json.dumps(seen.json) for seen in echo.seen]
    for text in [*shown, *_files(tmp_path), *prompts, caplog.text]:
        assert not [part for part in PARTS if part in text]
    assert "answered 403" in "".join(shown)


@pytest.mark.parametrize("how", ["query", "login", "key"])
async def test_nor_do_other_failures_tell_it(echo: Echo, how: str, tmp_path: Path) -> None:
    echo.refuses = False
    failures = [
        Answer(raw=f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n{SECRET}".encode()),
        Answer(raw=f"HTTP/1.1 307 Moved\r\nLocation: /v1?api_key={IN_URL}\r\nContent-Length: 0\r\n\r\n".encode()),
        Answer(raw=f"{SECRET} is not HTTP\r\n\r\n".encode()),
        Answer([delta(content="Half"), {"error": {"message": f"bad {SECRET}", "code": 400}}]),
        Answer(body={"error": {"message": "x" * 495 + " " + SECRET}}, status=400),
    ]
    for failure in failures:
        echo.answers = [failure]
        engine = VLLM(profile="exaone4", probe=False, retries=0, **_with_secret(echo.url, how))
        with pytest.raises(EngineError) as caught:
            [item async for item in engine.stream(Request((ASK,)))]
        assert not [part for part in PARTS if part in str(caught.value)], caught.value
        await engine.aclose()
    engine = VLLM(probe=False, retries=0, **_with_secret("http://127.0.0.1:9/v1", how))
    with pytest.raises(EngineError, match="no server answers at http://127") as caught:
        await engine.connect()
    assert "s3cr" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://me:s3cr/t@host:8000/v1",
        "me:s3cret@host/v1",
        "ftp://me:s3cret@host/v1",
        "http:/host/v1?api_key=s3cret",
        "http://?s3cret",
        "http://host:port/v1?key=s3cret",
        "http://host/v1#s3cret",
    ],
)
def test_nor_does_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ConfigurationError, match="a base URL looks like") as caught:
        Address.of(url)
    assert "s3cr" not in f"{caught.value}{caught.value.__cause__}{caught.value.__context__}"


def test_nor_does_the_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    for how in ("query", "login", "user"):
        doctor(_with_secret("http://127.0.0.1:9/v1", how)["base_url"], as_json=True)
    told = "".join(capsys.readouterr())
    assert "127.0.0.1:9" in told
    assert "s3cr" not in told


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://host:8000", "http://host:8000/v1"),
        ("http://host:8000/", "http://host:8000/v1"),
        ("http://host:8000/v1/", "http://host:8000/v1"),
        ("https://host/a/v1?key=secret", "https://host/a/v1"),
        ("http://host?key=secret", "http://host/v1"),
        ("http://me:secret@[::1]:80/v1", "http://[::1]/v1"),
    ],
)
def test_what_is_shown_of_an_address(url: str, shown: str) -> None:
    address = Address.of(url, " key\n")
    assert (address.url, address.root, address.key) == (shown, shown.removesuffix("/v1"), "key")
    assert "secret" not in repr(address)
    assert address.hide("a secret key of true v1") == f"a {'[key]' if 'secret' in url else 'secret'} [key] of true v1"
