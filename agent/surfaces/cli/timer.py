"""`fastslow install-timer`: a command of ours at a time, by systemd's user manager or by cron."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fastslow.agent.errors import ConfigurationError

MARKER = "# Written by `fastslow install-timer`, which replaces it; a file without this line it leaves alone."
BOOTED = Path("/run/systemd/system")  # sd_booted(3)
STOP_SECONDS = 180  # a run that is stopped writes its result, and its sandbox is removed
DELAY_SECONDS = 60  # so that all timers of a machine do not begin in one moment
KEPT = (
    "FASTSLOW_HOME",
    "FASTSLOW_BASE_URL",
    "DOCKER_HOST",
    "PATH",
    *(f"XDG_{kind}_HOME" for kind in ("CONFIG", "DATA", "CACHE", "STATE")),
)
LONGEST_CRON = 990  # characters; some crons cut a line of 1000
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_WORDS = {"hourly": "0 * * * *", "daily": "0 0 * * *", "weekly": "0 0 * * 1", "monthly": "0 0 1 * *"}


@dataclass(frozen=True, slots=True)
class Timer:
    """What runs when. when: as systemd's OnCalendar. command: with its program's absolute path. environment: what the
    command needs of this shell's. secrets: a file of variables that is read where it is there."""

    name: str
    when: str
    command: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Path = Path("/dev/null")

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigurationError(f"a timer's name has small letters, digits, - and _, got {self.name!r:.80}")
        told = (*self.command, str(self.folder), str(self.secrets), self.when, *self.environment.values())
        for text in told:
            if _CONTROL.search(text):
                raise ConfigurationError(f"neither systemd nor cron takes a line break or a control in {text!r:.200}")
        for path in (str(self.folder), str(self.secrets), self.command[0]):
            if path != path.strip() or "\\" in path:
                raise ConfigurationError(f"systemd takes no path with a backslash or blanks at its ends: {path!r}")

    @property
    def unit(self) -> str:
        return f"fastslow-{self.name}"

    def units(self) -> dict[str, str]:
        """The files of the service and its timer, by their names."""
        kept = "".join(f"Environment={quoted(f'{name}={value}')}\n" for name, value in self.environment.items())
        return {
            f"{self.unit}.service": f"""\
{MARKER}
[Unit]
Description=fastslow {self.name}

[Service]
Type=oneshot
WorkingDirectory={_percent(str(self.folder))}
{kept}EnvironmentFile=-{_percent(str(self.secrets))}
ExecStart=:{" ".join(map(quoted, self.command))}
KillMode=mixed
TimeoutStopSec={STOP_SECONDS}
""",
            f"{self.unit}.timer": f"""\
{MARKER}
[Unit]
Description=When fastslow {self.name} runs

[Timer]
OnCalendar={_percent(self.when)}
Persistent=true
RandomizedDelaySec={DELAY_SECONDS}

[Install]
WantedBy=timers.target
""",
        }

    def cron_line(self, lock: Path) -> str:
        """The line of a crontab. ConfigurationError for what cron cannot say."""
        kept = [f"{name}={value}" for name, value in self.environment.items()]
        run = shlex.join(["flock", "-n", str(lock), *(["env", *kept] if kept else []), *self.command])
        line = f"cd {shlex.quote(str(self.folder))} && {run}"
        if "\\" in line:
            raise ConfigurationError("crons read a backslash in different ways: put the command into a script")
        line = cron_times(self.when) + " " + line.replace("%", "\\%")  # a bare one ends the line for cron
        if len(line.encode()) > LONGEST_CRON:
            raise ConfigurationError(f"cron takes {LONGEST_CRON} bytes, got {len(line.encode())}: put it into a script")
        return line


def quoted(text: str) -> str:
    """A word of a systemd unit. A dollar sign stays: `ExecStart=:` puts no variables in.

    >>> quoted('50 % of "it"')
    '"50 %% of \\\\"it\\\\""'
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_percent(escaped)}"'


def _percent(text: str) -> str:
    return text.replace("%", "%%")


def cron_times(when: str) -> str:
    """The five fields of a time that systemd's OnCalendar says; ConfigurationError for what cron has no words for.

    >>> cron_times("Mon..Fri 08:30"), cron_times("*-*-01 06:00")
    ('30 8 * * 1-5', '0 6 1 * *')
    """
    if when.lower() in _WORDS:
        return _WORDS[when.lower()]
    number, days = r"\d{1,2}|\*", "|".join(_DAYS)
    found = re.fullmatch(
        rf"(?:((?:{days})(?:(?:\.\.|,)(?:{days}))*) +)?"
        rf"(?:\*-({number})-({number}) +)?({number}):({number}|[*0]/\d{{1,2}})(?::00)?",
        when.strip().lower(),
    )
    if not found:
        raise ConfigurationError(
            f'cron takes times such as "Mon 08:00", "Mon..Fri 08:00", "*-*-01 06:00" or "daily", got {when!r}'
        )
    named, month, day, hour, minute = found.groups()
    if named and day not in (None, "*"):
        raise ConfigurationError(f"cron runs on either of a day of the week and of the month, not on both: {when!r}")
    weekdays = re.sub("|".join(_DAYS), lambda one: str(_DAYS.index(one[0])), named or "*").replace("..", "-")
    weekdays = weekdays.replace("-0", "-7")  # Sunday is at both ends
    fields = [minute.replace("0/", "*/"), hour, day or "*", month or "*"]
    return " ".join([*(str(int(each)) if each.isdigit() else each for each in fields), weekdays])


def check_time(when: str) -> None:
    """ConfigurationError for a time that systemd does not read, where it is there to be asked."""
    program = shutil.which("systemd-analyze")
    if not when.strip() or when.startswith("-"):
        raise ConfigurationError(f'expected a time such as "Mon 08:00", got {when!r}')
    if program:
        asked = subprocess.run([program, "calendar", when], capture_output=True, text=True, timeout=20)
        if asked.returncode:
            raise ConfigurationError(f"systemd does not read the time {when!r}: {asked.stderr.strip()}")


def own_command(words: Sequence[str]) -> tuple[str, ...]:
    """A command of ours as it is run from anywhere, with this interpreter."""
    script = Path(sys.executable).with_name("fastslow")
    if script.exists():
        return (str(script), *words)
    return (sys.executable, "-P", "-m", "fastslow.agent.surfaces.command", *words)  # -P: no code of the folder's


def environment() -> dict[str, str]:
    """What the command needs of the variables of this shell; never a key."""
    from fastslow.agent.engine.address import Address

    kept = {name: os.environ[name] for name in KEPT if os.environ.get(name)}
    url = kept.get("FASTSLOW_BASE_URL")
    if url and Address.of(url).secrets:
        del kept["FASTSLOW_BASE_URL"]
    return kept


def unit_folder() -> Path:
    """Where systemd looks for a user's units."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"


def has_systemd() -> bool:
    return BOOTED.is_dir() and shutil.which("systemctl") is not None


def write(units: Mapping[str, str], folder: Path) -> list[tuple[Path, str]]:
    """Write units, none of them where one is somebody else's; says of each what was done. ConfigurationError."""
    paths = [folder / name for name in units]
    for path in paths:
        if path.is_symlink() or (path.exists() and not path.read_text("utf-8", "replace").startswith(MARKER + "\n")):
            raise ConfigurationError(f"{path} was not written by `fastslow install-timer`; take another --name")
    folder.mkdir(parents=True, exist_ok=True)
    done = [(path, "replaced" if path.exists() else "wrote") for path in paths]
    for path, text in zip(paths, units.values(), strict=True):
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_text(text, "utf-8")
        fresh.replace(path)
    return done


def enabling(unit: str) -> list[list[str]]:
    """The commands after which the timer runs."""
    return [["systemctl", "--user", "daemon-reload"], ["systemctl", "--user", "enable", "--now", f"{unit}.timer"]]
