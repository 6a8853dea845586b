"""Sessions of editors in the journal: runs that follow each other on one folder, whoever began them."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from fastslow.agent.events import Event, RunFinished
from fastslow.agent.record.contents import read_content
from fastslow.agent.record.journal import Journal, new_id
from fastslow.agent.record.written import RunInfo
from fastslow.agent.surfaces.acp.parts import DIFF, one_line

OURS = "acp-"  # begins the key of the first run of a session that an editor began
LOOKED_AT = 1000  # the latest runs
LISTED = 100


@dataclass(slots=True)
class KeptSession:
    """id: of the first run, or the key that it was begun with. runs: oldest first. follows: the last one that came to
    its end, `""` for none."""

    id: str
    root: str
    title: str
    updated: datetime
    runs: list[str] = field(default_factory=list)
    follows: str = ""


def new_session_id() -> str:
    """An editor wants it before the first run begins: it becomes the key of that run."""
    return f"{OURS}{new_id()}"


def session_key(session_id: str, runs: int) -> str:
    """The key of a run that follows none: the first one, or one after others that were ended in the middle."""
    return f"{session_id}/{runs + 1}" if runs else session_id


def kept_sessions(path: Path) -> dict[str, KeptSession]:
    """The sessions of a journal by id, oldest first. Runs in a thread of its own. JournalBroken."""
    sessions: dict[str, KeptSession] = {}
    session_of: dict[str, KeptSession] = {}
    with closing(Journal(path)) as journal:
        for info in reversed(journal.runs()[:LOOKED_AT]):
            if info.parent:
                continue
            session = session_of.get(info.after) or _begun(journal, info, sessions)
            if session is None:
                continue
            sessions[session.id] = session_of[info.run] = session
            session.runs.append(info.run)
            session.updated = info.started
            session.follows = info.run if info.exit else session.follows
    return sessions


def _begun(journal: Journal, info: RunInfo, sessions: dict[str, KeptSession]) -> KeptSession | None:
    """The session of a run that follows none; None for one without a folder."""
    started = journal.started(info.run)
    if started.tree is None:
        return None
    named = started.key.partition("/")[0] if started.key.startswith(OURS) else info.run
    return sessions.get(named) or KeptSession(named, str(started.tree.root), one_line(started.task), info.started)


def events_of(path: Path, run: str) -> tuple[str, tuple[Event, ...]]:
    """The task of a run, and all that it said. Runs in a thread of its own."""
    with closing(Journal(path)) as journal:
        written = journal.read(run)
        ended: tuple[RunFinished, ...] = (written.finished,) if written.finished else ()
        return written.started.task, (*written.events, *ended)


def text_before(path: Path, run: str, name: str) -> str | None:
    """What a file of the user's folder held when a run began; None where there was none, or no text."""
    with closing(Journal(path)) as journal:
        rows = journal.rows("SELECT digest FROM files WHERE run = ? AND number = 0 AND path = ?", run, name)
        content = read_content(journal.rows, rows[0][0]) if rows and rows[0][0] else None
    return text_of(content)


def text_of(content: bytes | None) -> str | None:
    """A content as text; None for what is none, or too long to show."""
    if content is None or len(content) > DIFF or b"\0" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None
