"""Which projects the user trusts, each with the contents it had then: asked once, and again when they change.

Trust says that what a project tells agents may be told to the model. It grants no rights, and no rule of approval asks
for it.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from fastslow.agent.errors import ConfigurationError
from fastslow.agent.folders import config_folder, no_link


class Trust:
    """What was trusted, in a JSON file: the digest of each project, by the path of its folder.

    file: by itself `trust.json` in the folder of the user's settings. Every method reads it anew, and raises
    ConfigurationError where it is damaged or cannot be read or written.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file or config_folder() / "trust.json"

    def is_trusted(self, root: Path, digest: str) -> bool:
        """Whether the user trusted the project in this folder with these very contents (`Project.digest`)."""
        return self._read().get(os.path.realpath(root)) == digest

    def trust(self, root: Path, digest: str) -> None:
        """Trust it with these contents, and no longer with others."""
        try:
            with open(self._file.with_suffix(".lock"), "a", opener=no_link) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._write(self._read() | {os.path.realpath(root): digest})
        except OSError as error:
            raise ConfigurationError(f"{self._file} cannot be written: {error}; trust was not noted") from error

    def _read(self) -> dict[str, str]:
        try:
            told = json.loads(self._file.read_bytes())
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ConfigurationError(f"{self._file} cannot be read: {error}") from error
        except (ValueError, RecursionError) as error:
            raise self._damaged(str(error)) from error
        if not isinstance(told, dict) or not all(isinstance(digest, str) for digest in told.values()):
            raise self._damaged("it is not an object with a digest for each path")
        return told

    def _damaged(self, why: str) -> ConfigurationError:
        return ConfigurationError(
            f"{self._file}, which notes the projects that you trust, is damaged: {why:.200}; remove it, and you are "
            "asked about each project again"
        )

    def _write(self, projects: dict[str, str]) -> None:
        """Put a new file in its place: whoever reads sees the old one or the new one."""
        new = self._file.with_suffix(".new")
        new.unlink(missing_ok=True)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
            json.dump(projects, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._file)
