"""The line that a person types in a conversation: history, several lines, completion."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import has_focus
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.styles import Style

from fastslow.agent.errors import AgentError
from fastslow.agent.surfaces.cli.chat_commands import Commands
from fastslow.agent.surfaces.cli.options import THINKS
from fastslow.agent.surfaces.cli.talk import Talk
from fastslow.agent.tree.select import select

SHOWN = 50  # completions at once
LEAST = 2  # characters of a word that is completed to a path without @
_WORD = re.compile(r"\S*$")


class Prompt:
    """Asks for the next input. history: a file that only its owner may read."""

    def __init__(self, history: Path, commands: Commands, talk: Talk) -> None:
        self._talk = talk
        self._completer = Completions(commands, talk)
        self._leaving = False  # Ctrl-C was pressed, and nothing since
        self._session: PromptSession[str] = PromptSession(
            message="> ",
            multiline=True,
            prompt_continuation="  ",
            key_bindings=self._keys(),
            history=_kept(history),
            completer=self._completer,
            complete_while_typing=True,
            bottom_toolbar=self._bottom,
            style=Style.from_dict({"bottom-toolbar": "noreverse ansigray"}),
        )
        self._session.default_buffer.on_text_changed += self._stays

    async def ask(self) -> str | None:
        """What was typed; None where the person leaves."""
        self._leaving = False
        self._completer.forget()
        try:
            return await self._session.prompt_async()
        except EOFError:
            return None

    def _stays(self, _: object) -> None:
        self._leaving = False

    def _bottom(self) -> StyleAndTextTuples:
        return [("", "Press Ctrl-C again to leave." if self._leaving else self._talk.bottom())]

    def _keys(self) -> KeyBindings:
        keys, here = KeyBindings(), has_focus(DEFAULT_BUFFER)

        @keys.add("enter", filter=here)
        def send(event: KeyPressEvent) -> None:
            event.current_buffer.validate_and_handle()

        @keys.add("escape", "enter", filter=here)
        def new_line(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @keys.add("c-c", filter=here)
        @keys.add("<sigint>", filter=here)
        def clear(event: KeyPressEvent) -> None:
            if self._leaving:
                event.app.exit(exception=EOFError)
                return
            event.current_buffer.reset()
            self._leaving = True

        return keys


class Completions(Completer):
    """Commands and what they take, and paths of the project: behind `@` as they are typed, of other words on Tab."""

    def __init__(self, commands: Commands, talk: Talk) -> None:
        self._commands = commands
        self._talk = talk
        self._on_disk = PathCompleter(expanduser=True)
        self._paths: tuple[str, ...] | None = None

    def forget(self) -> None:
        """The project's files may be others by now."""
        self._paths = None

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        text = document.text_before_cursor
        name, blank, rest = text.partition(" ")
        if not blank and text.startswith("/"):
            for command, about in self._commands.all.items():
                if command.startswith(text):
                    yield Completion(command, -len(text), display_meta=about.told)
        elif name == "/think":
            yield from (Completion(word, -len(rest)) for word in THINKS if word.startswith(rest))
        elif name == "/file":
            yield from self._on_disk.get_completions(Document(rest), complete_event)
        else:
            yield from self._of_project(text, wanted=complete_event.completion_requested)

    def _of_project(self, text: str, *, wanted: bool) -> Iterator[Completion]:
        found = _WORD.search(text)
        word = found[0] if found else ""
        if word.startswith("@"):
            start = word[1:]
        elif wanted and len(word) >= LEAST:
            start = word
        else:
            return
        paths = sorted(_matching(self._project(), start), key=lambda path: not path.startswith(start))
        yield from (Completion(path, -len(word)) for path in paths[:SHOWN])

    def _project(self) -> tuple[str, ...]:
        if self._paths is None:
            self._paths = ()
            with suppress(AgentError, OSError):  # what is wrong with the folder, the next task tells
                if self._talk.tree:
                    self._paths = tuple(entry.path for entry in select(self._talk.tree).files)
        return self._paths


def _matching(paths: Iterable[str], start: str) -> Iterator[str]:
    """Paths that begin so, or whose last name does."""
    return (path for path in paths if path.startswith(start) or path.rpartition("/")[2].startswith(start))


class _Kept(FileHistory):
    def store_string(self, string: str) -> None:
        with suppress(OSError):
            super().store_string(string.encode("utf-8", "replace").decode())


def _kept(path: Path) -> History:
    """The history in a file; where that cannot be, only as long as we are there."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except OSError:
        return InMemoryHistory()
    return _Kept(str(path))
