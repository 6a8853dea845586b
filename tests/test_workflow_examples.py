"""The examples of workflows by their commands: a server plays the model, and all else is real. One asks the model."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from queue import Queue
from typing import Any, TypeVar

import pytest
from aiosmtpd.smtp import SMTP, Envelope

from tests.engine.fake_server import CHAT, Answer, FakeServer, Seen, call, delta, said, serving, usage
from tests.surfaces.cli.test_chat import probed

WORKFLOWS = Path(__file__).parent.parent / "examples" / "workflows"
TRIAGE, REPORT, MIGRATION = (WORKFLOWS / name for name in ("triage", "monthly_report", "code_migration"))
T = TypeVar("T")
FASTSLOW = (sys.executable, "-m", "fastslow.agent.surfaces.cli.main")


class Clerk(FakeServer):
    """A model that does what the examples ask for; `modules` are its tries at each, the last one for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.modules: dict[str, list[str]] = {}

    def answer(self, seen: Seen) -> Answer:
        if seen.path != CHAT:
            return super().answer(seen)
        messages = seen.json["messages"]
        if messages[0]["content"].startswith("You take readings"):
            return probed(seen.json)
        asked = messages[-1]["content"]
        self.asked.append(asked)
        if "<text>" in asked:
            kind = "question" if asked.count("?") else "problem"
            return said(json.dumps({"kind": kind, "urgency": "normal", "area": "product"}))
        if asked.startswith("Why did a customer"):
            return answered({"value": "late" if "late" in asked.rpartition("wrote:")[2] else "broken"})
        if asked.startswith("Write a summary"):
            net = re.findall(r"net: ([\d,.]+) EUR", asked)[0]
            return answered({"text": f"The net is {net} EUR." if "was wrong" in asked else "We sold 12 cars."})
        source, *_ = re.findall(r"```python\n(.*?)```", asked, re.DOTALL)
        tries = self.modules[source]
        return said(f"Here it is:\n```python\n{tries.pop(0) if len(tries) > 1 else tries[0]}```\n")


def answered(arguments: dict[str, Any]) -> Answer:
    made = call(0, "c0", "answer", json.dumps(arguments))
    return Answer([delta(tool_calls=[made]), delta(finish="tool_calls"), usage()])


@contextmanager
def beside(server: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """A server in a thread of its own."""
    there: Queue[T] = Queue()
    stop, loop = asyncio.Event(), asyncio.new_event_loop()

    async def serve() -> None:
        async with server as serves:
            there.put(serves)
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        yield there.get(timeout=10)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@pytest.fixture
def clerk() -> Iterator[Clerk]:
    with beside(serving(Clerk())) as there:
        yield there


@pytest.fixture
def place(tmp_path: Path, clerk: Clerk, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FASTSLOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FASTSLOW_BASE_URL", clerk.url)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fastslow(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*FASTSLOW, *map(str, command)], text=True, capture_output=True, timeout=120)


def plain(command: list[str | Path], **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, text=True, capture_output=True, timeout=60, **options)


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))


# --- triage ----------------------------------------------------------------------------------------


def triage(*options: str) -> list[str]:
    task = (TRIAGE / "prompt.txt").read_text()
    files = ("--input", f"{TRIAGE}/tickets.csv", "--schema", f"{TRIAGE}/ticket.json", "--out", "tickets.jsonl")
    return ["map", task, *files, "--id", "id", *options]


def test_make_triage_sorts_the_tickets_and_compares_with_labels(clerk: Clerk, place: Path) -> None:
    (place / "examples").symlink_to(WORKFLOWS.parent)
    recipe = plain(["make", "--no-print-directory", "-n", "-o", ".venv/installed", "triage"], cwd=WORKFLOWS.parents[1])
    command = recipe.stdout.replace(".venv/bin/", f"{Path(sys.executable).parent}/")
    done = plain(["bash", "-euc", command])
    assert done.returncode == 0, recipe.stderr + done.stderr
    assert len(clerk.asked) == 60
    labels = rows(TRIAGE / "labels.csv")
    assert not any(f"{row['id']},{row['urgency']}" in json.dumps(chat) for chat in clerk.chats for row in labels)
    assert "60 of 60 tickets were answered" in done.stdout
    products = sum(row["area"] == "product" for row in labels)
    assert f"area: {products} of 60 right" in done.stdout
    assert re.search(r"high +0 of 16 +0%", done.stdout)
    assert plain(["bash", "-euc", command]).stdout.endswith(done.stdout[-200:])
    assert len(clerk.asked) == 60  # what is done is not asked again


def test_each_ticket_has_a_label_of_the_schema() -> None:
    tickets, labels = rows(TRIAGE / "tickets.csv"), rows(TRIAGE / "labels.csv")
    assert [row["id"] for row in tickets] == [row["id"] for row in labels]
    assert len({row["text"] for row in tickets}) == 60
    schema = json.loads((TRIAGE / "ticket.json").read_text())["properties"]
    assert {row["area"] for row in labels} == set(schema["area"]["enum"])
    assert {row["urgency"] for row in labels} == {"low", *schema["urgency"]["enum"]}


@pytest.mark.engine
def test_the_model_sorts_four_tickets(vllm_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = fastslow(*triage("--limit", "4", "--fresh"))
    assert done.returncode == 0, done.stderr
    told = plain([sys.executable, TRIAGE / "accuracy.py", "tickets.jsonl"])
    found = re.search(r"urgency: (\d) of 4 right", told.stdout)
    assert found, told.stdout + told.stderr
    assert int(found[1]) >= 2


# --- monthly report --------------------------------------------------------------------------------


@dataclass
class Sink:
    """A mail server on loopback. kills: whoever sends, once the mail is here."""

    address: str = ""
    mails: list[Message] = field(default_factory=list)
    kills: list[int] = field(default_factory=list)

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        self.mails.append(message_from_bytes(envelope.original_content or b""))
        for pid in self.kills:
            os.kill(pid, signal.SIGKILL)
        return "250 OK"


@asynccontextmanager
async def sinking() -> AsyncIterator[Sink]:
    sink = Sink()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(sink), "127.0.0.1", 0)
    sink.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield sink
    server.close()


@pytest.fixture
def sink() -> Iterator[Sink]:
    with beside(sinking()) as there:
        yield there


def report(sink: Sink) -> list[str]:
    return ["flow", "run", f"{REPORT}/report.py", "--month", "2026-10", "--smtp", sink.address]


def reckoned() -> tuple[int, int]:
    """What was sold in the month and what came back, in cents: by another way than that of the example."""
    orders = {row["order"]: row for row in rows(REPORT / "in" / "orders.csv") if row["quantity"]}
    prices: dict[str, Counter[int]] = {}
    for row in orders.values():
        if row["price"]:
            prices.setdefault(row["product"], Counter())[int(re.sub(r"\D", "", row["price"]))] += 1
    month = re.compile(r"2026[-/]10[-/]|\.10\.2026| Oct 2026")
    amount = {one: int(row["quantity"]) * max(prices[row["product"]]) for one, row in orders.items()}
    back = {row["order"] for row in rows(REPORT / "in" / "returns.csv")}
    return sum(amount[one] for one, row in orders.items() if month.search(row["date"])), sum(
        map(amount.__getitem__, back)
    )


@pytest.mark.docker
def test_a_report_is_checked_then_approved_elsewhere_and_mailed_once(clerk: Clerk, sink: Sink, place: Path) -> None:
    waits = fastslow(*report(sink))
    assert waits.returncode == 75, waits.stderr
    assert "Mail the report of 2026-10" in waits.stderr
    assert sink.mails == []
    sold, returned = reckoned()
    [page] = place.glob("fastslow-out/*/report.html")
    html = page.read_text()
    assert f"<td>sold</td><td>{sold / 100:,.2f}</td>" in html
    assert f"<td>net</td><td>{(sold - returned) / 100:,.2f}</td>" in html
    assert (
        f"The net is {(sold - returned) / 100:,.2f} EUR." in html
    )  # the second try: the first had a number of its own
    assert len([asked for asked in clerk.asked if asked.startswith("Write a summary")]) == 2
    assert "<svg" in html

    asked = len(clerk.asked)
    done = fastslow("flow", "answer", "last", "yes")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sent"] == "owner@shop.example"
    for again in (report(sink), ["flow", "resume", "last"]):
        assert fastslow(*again).returncode == 0
    assert fastslow("flow", "answer", "last", "yes").returncode == 2
    [mail] = sink.mails
    assert mail["Subject"] == "Report of 2026-10"
    [_, attached] = mail.get_payload()  # type: ignore[misc]
    assert attached.get_payload(decode=True).decode() == html  # type: ignore[union-attr]
    assert len(clerk.asked) == asked


@pytest.mark.docker
def test_a_report_that_may_have_been_mailed_is_not_mailed_again(clerk: Clerk, sink: Sink, place: Path) -> None:
    assert fastslow(*report(sink)).returncode == 75
    going = subprocess.Popen([*FASTSLOW, "flow", "answer", "last", "yes"], stderr=subprocess.PIPE)
    sink.kills.append(going.pid)
    going.communicate(timeout=60)
    assert going.returncode == -signal.SIGKILL
    sink.kills.clear()
    doubt = fastslow(*report(sink))
    assert doubt.returncode == 75, doubt.stderr
    assert "send was cut off" in doubt.stderr
    value = json.dumps(sink.mails[0]["Message-ID"])
    done = fastslow("flow", "answer", "last", "done", "--value", value)
    assert done.returncode == 0, done.stderr
    assert len(sink.mails) == 1


@pytest.mark.docker
def test_a_yes_is_for_one_page_and_no_is_no(sink: Sink, place: Path) -> None:
    returns = Path(shutil.copy(REPORT / "in" / "returns.csv", place))
    command = [*report(sink), "--returns", str(returns)]
    assert fastslow(*command).returncode == 75
    assert fastslow("flow", "answer", "last", "yes").returncode == 0
    returns.write_text(returns.read_text().replace("came with a crack", "came late and with a crack"))
    assert fastslow(*command).returncode == 75
    done = fastslow("flow", "answer", "last", "no")
    assert (done.returncode, json.loads(done.stdout)["sent"]) == (0, ""), done.stderr
    assert len(sink.mails) == 1


@pytest.mark.parametrize(("old", "new", "told"), [("net</td><td>", "net</td><td>9", "net"), ("", "", "agree")])
def test_the_check_sees_a_wrong_total(tmp_path: Path, old: str, new: str, told: str) -> None:
    made = plain([sys.executable, "-c", MAKE_PAGE, tmp_path], cwd=REPORT)
    assert made.returncode == 0, made.stderr
    page = tmp_path / "report.html"
    page.write_text(page.read_text().replace(old, new))
    shutil.copy(REPORT / "in" / "orders.csv", tmp_path)
    done = plain([sys.executable, REPORT / "check_totals.py"], cwd=tmp_path)
    assert (done.returncode, told in done.stdout) == (bool(old), True), done.stdout + done.stderr


MAKE_PAGE = """
import sys
from pathlib import Path
from cleaning import clean
from page import clean_csv, page
from report import totals
month = clean("2026-10", *(Path("in", f"{name}.csv") for name in ("orders", "customers", "returns")))
figures = totals(month)
figures["returned as late"] = figures["returned"]
Path(sys.argv[1], "report.html").write_text(page(month, figures, "All is well."))
Path(sys.argv[1], "clean.csv").write_text(clean_csv(month))
"""


def test_the_months_files_are_what_their_generator_makes(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(REPORT / "generate.py", tmp_path)
    assert plain([sys.executable, tmp_path / "generate.py"]).returncode == 0
    for file in (REPORT / "in").iterdir():
        assert (tmp_path / "in" / file.name).read_bytes() == file.read_bytes()


# --- code migration --------------------------------------------------------------------------------

GOOD = {
    "clock": [
        ('"%02d:%02d" % divmod(minutes % 1440, 60)', 'f"{minutes % 1440 // 60:02d}:{minutes % 60:02d}"'),
        ('"%s to %s" % (clock(start), clock(end))', 'f"{clock(start)} to {clock(end)}"'),
    ],
    "greeting": [('"Hello, %s!" % name', 'f"Hello, {name}!"')],
    "urls": [
        (
            '"%s://%s:%d/%s" % (scheme, host, port, path.lstrip("/"))',
            "f\"{scheme}://{host}:{port}/{path.lstrip('/')}\"",
        )
    ],
}


@pytest.mark.docker
def test_modules_are_migrated_as_far_as_their_tests_stay_green(clerk: Clerk, place: Path) -> None:
    project = Path(shutil.copytree(MIGRATION / "project", place / "project"))
    before = {path.name: path.read_bytes() for path in project.iterdir()}
    for path in project.glob("*.py"):
        clerk.modules[path.read_text()] = [path.read_text()]  # what it cannot do, it gives back
    for name, changes in GOOD.items():
        source = good = (project / f"{name}.py").read_text()
        for old, new in changes:
            good = good.replace(old, new)
        wrong = good.replace("02d", "2d") if name == "clock" else good
        clerk.modules[source] = [wrong, good]

    done = fastslow("flow", "run", MIGRATION / "migrate.py", "--project", project, "--tries", "2")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    outcomes = {one["module"]: (one["migrated"], one["tries"]) for one in told["outcomes"]}
    left = ("invoice.py", "logline.py", "progress.py", "ruler.py", "table.py")
    assert outcomes == {"clock.py": (True, 2), "greeting.py": (True, 1), "urls.py": (True, 1)} | dict.fromkeys(
        left, (False, 2)
    )
    assert any("!= '09:00 to 17:00'" in asked for asked in clerk.asked)  # what the tests said of the first try
    assert re.search(r"clock.py +migrated", done.stderr)
    assert re.search(r"ruler.py +as it was", done.stderr)

    assert {path.name: path.read_bytes() for path in project.iterdir()} == before
    applied = plain(["git", "apply", place / told["patch"]], cwd=project)
    assert applied.returncode == 0, applied.stderr
    changed = {path.name for path in project.iterdir() if path.is_file() and before.get(path.name) != path.read_bytes()}
    assert changed == {"clock.py", "greeting.py", "urls.py"}
    assert plain([sys.executable, "-B", "-m", "unittest", "-q"], cwd=project).returncode == 0


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ('def greeting(name):\n    return f"Hello, {name}!"\n', "OK"),
        ('def greeting(name):\n    return "Hello, %s!" % name\n', "still has the old format:\nline 2"),
        ('def greeting(name):\n    return "Hello, {}!".format(name)\n', "still has the old format:\nline 2"),
        ('def greeting(name):\n    return f"Hello, {name}"\n', "FAILED"),
        ("def greeting(name)\n", "no Python any more"),
    ],
)
def test_the_gate_of_a_module(tmp_path: Path, source: str, told: str) -> None:
    for name in ("gate.py", "test_greeting.py"):
        shutil.copy(MIGRATION / "project" / name, tmp_path)
    (tmp_path / "greeting.py").write_text(source)
    done = plain([sys.executable, "gate.py", "greeting"], cwd=tmp_path)
    assert (done.returncode == 0) == (told == "OK")
    assert told in done.stdout + done.stderr
