"""`fastslow sandbox exec` with a real container: what the code writes and how it ends passes through."""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.docker

FASTSLOW = Path(sys.executable).with_name("fastslow")


def execute(code: str | bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    data = code.encode() if isinstance(code, str) else code
    command = [FASTSLOW, "sandbox", "exec", *arguments]
    return subprocess.run(command, input=data, capture_output=True, timeout=120)


def test_output_and_exit_status_pass_through() -> None:
    code = "import sys\nprint('é\\x1b[1m')\nprint('two', file=sys.stderr)\n2 + 2\nsys.exit(7)"
    done = execute(code)
    assert done.stdout.decode() == "é\x1b[1m\n", "unchanged, and without the echo of a notebook"
    assert done.stderr.decode() == "two\n"
    assert done.returncode == 7


def test_an_exception_is_a_traceback_and_status_1() -> None:
    done = execute("1 / 0")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode().startswith("Traceback")
    assert done.stderr.decode().endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("print('a', flush=True)\nwhile True: pass", 124, "--timeout"),
        ("print('a', flush=True)\nimport os\nos.kill(os.getpid(), 9)", 137, "it was killed"),
    ],
)
def test_code_that_does_not_end_by_itself(code: str, status: int, said: str) -> None:
    done = execute(code, "--timeout", "2")
    assert (done.returncode, done.stdout) == (status, b"a\n")
    assert said in done.stderr.decode()


def test_memory_is_as_much_as_was_given() -> None:
    code = "x = bytearray(300 << 20)\nprint(len(x) >> 20)"
    less, more = execute(code, "--memory", "128M"), execute(code, "--memory", "512M")
    assert (less.returncode, less.stdout) == (137, b"")
    assert "it had 128 MiB, and --memory gives more" in less.stderr.decode()
    assert (more.returncode, more.stdout) == (0, b"300\n")


def test_files_are_there(tmp_path: Path) -> None:
    (tmp_path / "a b.csv").write_text("1,2\n")
    done = execute("print(open('a b.csv').read(), end='')", "--file", str(tmp_path / "a b.csv"))
    assert (done.returncode, done.stdout) == (0, b"1,2\n")


def test_code_that_is_no_text() -> None:
    done = execute(b"\xff\xfe")
    assert done.returncode == 1
    assert done.stderr.decode().startswith("fastslow: expected Python code in UTF-8")


def test_output_without_end_is_cut_and_said() -> None:
    done = execute("print('é' * 12_000_000)")
    assert done.returncode == 0
    assert 100_000 < len(done.stdout.decode()) < 12_000_000
    assert "was cut" in done.stderr.decode()


def test_each_stream_stays_below_20_mb() -> None:
    code = """
import sys
print("a" * 21_000_000, flush=True)
sys.stderr.write("é" * 9_999_400)
raise ValueError("b" * 30_000_000)
"""
    done = execute(code)
    assert done.returncode == 1
    assert (len(done.stdout), 19_999_000 < len(done.stderr) <= 20_000_000) == (20_000_000, True)
    assert done.stderr.decode().endswith("fastslow: output beyond 20,000,000 bytes was cut\n")


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_and_leaves_nothing(number: signal.Signals, status: int) -> None:
    command = [FASTSLOW, "sandbox", "exec"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"print('here', flush=True)\nwhile True: pass")
        process.stdin.close()
        assert process.stdout.readline() == b"here\n"
        process.send_signal(number)
        assert (process.wait(20), process.stderr.read()) == (status, b"")
    listed = subprocess.run([FASTSLOW, "sandbox", "ls", "--json"], capture_output=True, check=True)
    assert process.pid not in [one["owner"] for one in json.loads(listed.stdout)]
    assert not list(Path(tempfile.gettempdir()).glob(f"fastslow-*-{process.pid}-*"))


def test_what_is_allowed_is_reached() -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        here = f"127.0.0.1:{server.server_port}"
        code = f"import urllib.request\nurllib.request.urlopen('http://{here}/')"
        done = execute(code, "--allow", here)
        thread.join()
    assert done.stderr.decode().endswith("HTTP Error 501: Unsupported method ('GET')\n"), "the server's own answer"


def test_an_entry_that_makes_no_sense_is_wrong_usage() -> None:
    done = execute("1", "--allow", "example.org")
    assert (done.returncode, done.stdout) == (2, b"")
    assert "--allow" in done.stderr.decode()


def test_output_comes_while_the_code_runs() -> None:
    code = b"import time\nprint('first', flush=True)\ntime.sleep(30)"
    with subprocess.Popen(
        [FASTSLOW, "sandbox", "exec"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(code)
        process.stdin.close()
        begun = time.monotonic()
        assert process.stdout.readline() == b"first\n"
        assert time.monotonic() - begun < 20
        process.terminate()
    assert process.returncode != 0


def test_prune_and_build_have_nothing_to_do() -> None:
    for command, said in ((["prune"], "removed"), (["build"], "fastslow-sandbox:")):
        done = subprocess.run(
            [FASTSLOW, "sandbox", *command],
            env={**os.environ, "NO_COLOR": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0
        assert said in done.stdout
