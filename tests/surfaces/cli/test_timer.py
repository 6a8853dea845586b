"""`fastslow install-timer`: units that systemd reads, cron lines that a shell reads, and nothing of others replaced."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from fastslow.agent.errors import ConfigurationError
from fastslow.agent.surfaces.cli import timer as units
from fastslow.agent.surfaces.cli.main import app
from fastslow.agent.surfaces.cli.timer import MARKER, Timer, cron_times

WORD = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp"))) | st.text(" %$\"';\\`~#{}ä")
AT = "Mon 08:00"


def timer(*words: str, folder: str = "/srv/my reports 100%") -> Timer:
    home = {"FASTSLOW_HOME": '/x/50% "of" $it'}
    return Timer("report", AT, (sys.executable, *words), Path(folder), home, Path("/x/100%/timer.env"))


def values(unit: str, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", unit, re.MULTILINE)


def read_as_systemd(text: str) -> list[str]:
    """The words of a unit's value, as systemd.syntax(7) and systemd.service(5) say; all of ours are quoted."""
    words = re.findall(r'"((?:[^"\\]|\\.)*)"(?: |$)', text)
    assert " ".join(f'"{word}"' for word in words) == text, "nothing stands between the words"
    assert not re.search(r"(?<!%)(?:%%)*%(?!%)", text), "no specifier"
    return [re.sub(r"\\(.)", r"\1", word).replace("%%", "%") for word in words]


def read_as_cron(line: str) -> list[str]:
    """The words that the shell gets of a crontab's line: cron takes the backslash before a percent sign."""
    command = line.split(" ", 5)[5]
    assert not re.search(r"(?<!\\)%", command), "it would end the line"
    command = command.replace(r"\%", "%").replace(sys.executable, f"printf '%s\\0' {sys.executable}", 1)
    command = command.replace("flock -n /x/lock env", "env", 1).replace("cd '/srv/my reports 100%' && ", "", 1)
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


@given(st.lists(WORD, max_size=4))
@settings(deadline=None)
def test_systemd_gets_the_words_as_they_are(words: list[str]) -> None:
    unit = timer(*words).units()["fastslow-report.service"]
    [line] = values(unit, "ExecStart")
    assert line.startswith(":"), "no variable is put in"
    assert read_as_systemd(line[1:]) == [sys.executable, *words]
    assert read_as_systemd(values(unit, "Environment")[0]) == ['FASTSLOW_HOME=/x/50% "of" $it']
    assert values(unit, "WorkingDirectory") == ["/srv/my reports 100%%"]


@given(st.lists(WORD.filter(lambda word: "\\" not in word), max_size=3))
@settings(deadline=None, max_examples=60)
def test_a_shell_gets_the_words_of_a_cron_line_as_they_are(words: list[str]) -> None:
    line = timer(*words).cron_line(Path("/x/lock"))
    assert line.startswith("0 8 * * 1 cd '/srv/my reports 100\\%' && flock -n /x/lock env 'FASTSLOW_HOME=")
    assert read_as_cron(line) == [sys.executable, *words]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    """It would say so of an unknown key, a wrong quote, a specifier that there is none of, and a missing program."""
    words = ("run", '50 % of "it" \\ $HOME ; \' ä', ";", "", "%h")
    for name, text in timer(*words, folder=str(tmp_path)).units().items():
        (tmp_path / name).write_text(text)
    paths = sorted(map(str, tmp_path.glob("fastslow-*")))
    done = subprocess.run(["systemd-analyze", "verify", *paths], capture_output=True, text=True, timeout=60)
    assert not [line for line in done.stderr.splitlines() if "fastslow-report" in line]
    assert done.returncode == 0, done.stderr
    wrong = tmp_path / "fastslow-report.service"
    wrong.write_text(wrong.read_text().replace('ä"', "ä"))
    assert (
        "fastslow-report"
        in subprocess.run(["systemd-analyze", "verify", *paths], capture_output=True, text=True, timeout=60).stderr
    ), "it looks"


def test_a_timer_is_made_up_for_and_a_run_has_time_to_end() -> None:
    service, when = timer("run").units().values()
    assert values(service, "Type") == ["oneshot"]
    assert values(service, "EnvironmentFile") == ["-/x/100%%/timer.env"]
    assert int(values(service, "TimeoutStopSec")[0]) >= 120
    assert (values(when, "OnCalendar"), values(when, "Persistent")) == ([AT], ["true"])
    assert values(when, "RandomizedDelaySec") == ["60"]


@pytest.mark.parametrize("wrong", ["two\nlines", "\x1b[0m", "\u2028", "\ud800"])
def test_line_breaks_and_controls_are_refused(wrong: str) -> None:
    for make in (lambda: timer(wrong), lambda: timer(folder=f"/x{wrong}")):
        with pytest.raises(ConfigurationError, match="neither systemd nor cron"):
            make()


def test_what_a_path_or_cron_cannot_say_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no path with a backslash"):
        timer(folder="/x\\")
    with pytest.raises(ConfigurationError, match="put the command into a script"):
        timer("a\\b").cron_line(Path("/x/lock"))
    with pytest.raises(ConfigurationError, match="cron takes 990 bytes"):
        timer("a" * 1000).cron_line(Path("/x/lock"))


@pytest.mark.parametrize(
    ("when", "fields"),
    [
        ("Mon 08:00", "0 8 * * 1"),
        ("Mon..Fri 8:05:00", "5 8 * * 1-5"),
        ("Sat,Sun 23:59", "59 23 * * 6,0"),
        ("Sat..Sun 00:00", "0 0 * * 6-7"),
        ("*-*-01 06:00", "0 6 1 * *"),
        ("*-12-24 06:00", "0 6 24 12 *"),
        ("*:0/15", "*/15 * * * *"),
        ("daily", "0 0 * * *"),
    ],
)
def test_times_for_cron(when: str, fields: str) -> None:
    assert cron_times(when) == fields


@pytest.mark.parametrize("when", ["", "soon", "2026-10-01 08:00", "Mon *-*-01 08:00", "08:00:30", "Mon 08:00 UTC"])
def test_times_that_cron_has_no_words_for(when: str) -> None:
    with pytest.raises(ConfigurationError, match="cron"):
        cron_times(when)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that systemd has booted, as far as can be seen, with a user's folders."""
    for name in ("FASTSLOW_API_KEY", "FASTSLOW_BASE_URL", *units.KEPT):
        if name != "PATH":
            monkeypatch.delenv(name, raising=False)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "systemctl").write_text('#!/bin/sh\necho "$@" >> "$(dirname "$0")/asked"\n')
    (tmp_path / "bin" / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("FASTSLOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(units, "BOOTED", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def install(*options: str, when: str = AT, command: tuple[str, ...] = ("run", "Sum up")) -> Result:
    return CliRunner().invoke(app, ["install-timer", "--on-calendar", when, *options, "--", *command])


def test_units_are_written_and_told_and_not_enabled(home: Path) -> None:
    done = install("--name", "sums")
    assert done.exit_code == 0, done.output
    service = home / "config" / "systemd" / "user" / "fastslow-sums.service"
    assert done.stdout.splitlines() == [
        f"wrote {service}",
        f"wrote {service.with_suffix('.timer')}",
        "then: systemctl --user daemon-reload",
        "then: systemctl --user enable --now fastslow-sums.timer",
        "then, to have it run while you are logged out: loginctl enable-linger",
    ]
    assert f'Environment="FASTSLOW_HOME={home}/home"' in service.read_text()
    assert values(service.read_text(), "WorkingDirectory") == [str(home)]
    assert not (home / "bin" / "asked").exists()
    assert "replaced" in install("--name", "sums", "--enable").stdout
    assert (home / "bin" / "asked").read_text() == "--user daemon-reload\n--user enable --now fastslow-sums.timer\n"


def test_nothing_is_written_of_what_others_wrote(home: Path) -> None:
    assert install().exit_code == 0
    mine = home / "config" / "systemd" / "user" / "fastslow-run-sum-up.timer"
    before = mine.with_suffix(".service").read_text()
    mine.write_text(mine.read_text().removeprefix(MARKER))
    done = install(when="Tue 09:00")
    assert "was not written by" in str(done.exception)
    assert mine.with_suffix(".service").read_text() == before
    mine.unlink()
    mine.symlink_to(home / "elsewhere")
    assert "was not written by" in str(install().exception)


def test_a_dry_run_and_cron_write_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = install("--dry-run").stdout
    assert all(text in shown for text in ("[Service]", "[Timer]", "fastslow-run-sum-up.service"))
    assert "flock -n" in install("--cron").stdout
    monkeypatch.setattr(units, "BOOTED", home / "nowhere")
    done = install()
    assert "systemd does not run here" in done.stderr
    assert done.stdout.startswith("0 8 * * 1 cd ")
    assert not (home / "config").exists()


def test_no_key_is_written_down(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTSLOW_API_KEY", "secret-key")
    monkeypatch.setenv("FASTSLOW_BASE_URL", "http://me:secret-word@host:8000/v1")
    for options in (["--dry-run"], ["--cron"]):
        done = install(*options)
        assert "secret" not in done.output
        assert "timer.env" in done.stderr
    monkeypatch.setenv("FASTSLOW_BASE_URL", "http://host:8000/v1")
    assert "FASTSLOW_BASE_URL=http://host:8000/v1" in install("--dry-run").stdout
    for words in (("--base-url", "http://a:secret-word@b"), ("--base-url=http://a:secret-word@b",)):
        done = install(command=("run", "x", *words))
        assert (done.exit_code, "would be written down" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("options", "command", "told"),
    [
        ({}, ("chat",), "got 'chat'"),
        ({}, ("nonsense",), "got 'nonsense'"),
        ({}, ("run", "x", "--nonsense"), "--nonsense"),
        ({}, ("run", "@nowhere.md"), "nowhere.md"),
        ({}, ("run", "two\nlines"), "neither systemd nor cron"),
        ({"when": "Mun 08:00"}, ("run", "x"), "Mun 08:00"),
    ],
)
def test_what_is_wrong_is_told_at_once(
    home: Path, options: dict[str, str], command: tuple[str, ...], told: str
) -> None:
    if "when" in options and not shutil.which("systemd-analyze"):
        pytest.skip("systemd is not installed")
    done = install(command=command, **options)
    assert (done.exit_code, told in done.stderr) == (2, True), done.output
    assert not (home / "config").exists()
