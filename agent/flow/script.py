"""A file of the user's that holds a flow: how it is loaded, and how its errors are told by its own lines."""

from __future__ import annotations

import inspect
import linecache
import sys
import tokenize
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from fastslow.agent.errors import ConfigurationError
from fastslow.agent.flow.parameters import Parameter, parameters_of
from fastslow.tools.foreign import described

MODULE = "fastslow_flow"  # the name that a script has while it runs: none that anything else could have


class ScriptFailed(ConfigurationError):
    """A script cannot be loaded, or holds no flow."""


@dataclass(frozen=True, slots=True)
class Script:
    """path: absolute. main: its function. own: its file and those that it imported from beside it, with the digests of
    what was loaded."""

    path: Path
    main: Callable[..., Awaitable[Any]]
    parameters: tuple[Parameter, ...]
    own: Mapping[str, str]


@contextmanager
def loaded(path: Path) -> Iterator[Script]:
    """The script, which imports what lies beside it as long as this goes on. ScriptFailed."""
    path = path.absolute()
    if not path.is_file():
        raise ScriptFailed(f"no file {str(path)!r}; name the Python file that holds `async def main(wf, …)`")
    module = ModuleType(MODULE)
    module.__file__ = str(path)
    before, folder = sys.modules.get(MODULE), str(path.parent)
    own: Mapping[str, str] = {}
    sys.modules[MODULE] = module  # annotations are read by the module's name
    sys.path.insert(0, folder)
    try:
        try:
            code = compile(path.read_bytes(), str(path), "exec")  # anew: byte code may be that of a second ago
            with redirect_stdout(sys.stderr):  # standard output is for what main returns
                exec(code, module.__dict__)  # noqa: S102 - the user's own
        except SyntaxError as error:
            where = f"{Path(error.filename or path).name}, line {error.lineno}"
            raise ScriptFailed(f"{where}: {error.msg}: {(error.text or '').strip()}") from error
        except (Exception, SystemExit) as error:
            raise ScriptFailed(told(error, path)) from error
        main = _main(module, path)
        try:
            parameters = parameters_of(main)
        except ConfigurationError as error:
            raise ScriptFailed(f"{path.name}, line {main.__code__.co_firstlineno}: {error}") from error
        own = own_files(path)
        _pin(own)
        yield Script(path, main, parameters, own)
    finally:
        for file in own:
            linecache.cache.pop(file, None)
        sys.path.remove(folder)
        sys.modules.pop(MODULE)
        if before:
            sys.modules[MODULE] = before


def told(error: BaseException, script: Path) -> str:
    """An error with the file and line of the user's own code where it came up."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _beside(frame.filename, script)]
    if not own:
        return described(error)
    last = own[-1]
    within = f", in {last.name}" if last.name != "<module>" else ""
    return f"{Path(last.filename).relative_to(script.parent)}, line {last.lineno}{within}: {described(error)}"


def own_files(script: Path) -> dict[str, str]:
    """The script and what it imported from beside it, with their digests."""
    files = {str(script)}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file and _beside(file, script):
            files.add(file)
    return digests(files)


def _beside(file: str, script: Path) -> bool:
    """Whether a file is the user's own, and not of an environment that lies there, too."""
    return Path(file).is_relative_to(script.parent) and "site-packages" not in file


def _pin(files: Iterable[str]) -> None:
    """Have the source of functions be that which was loaded, whoever edits their file meanwhile: `inspect` reads what
    `linecache` has, which looks at no file again whose time it does not know."""
    for file in files:
        with tokenize.open(file) as opened:
            lines = opened.readlines()
        linecache.cache[file] = (sum(map(len, lines)), None, lines, file)


def digests(files: set[str]) -> dict[str, str]:
    """Of a file that is not there an empty one."""
    return {file: sha256(Path(file).read_bytes()).hexdigest() if Path(file).is_file() else "" for file in sorted(files)}


def _main(module: Any, path: Path) -> Any:
    main = getattr(module, "main", None)
    wanted = "expected `async def main(wf, …)`"
    if main is None:
        raise ScriptFailed(f"{path.name}: {wanted}, and there is no main")
    if not inspect.isfunction(main):
        raise ScriptFailed(f"{path.name}: {wanted}, and main is a {type(main).__name__}")
    line = main.__code__.co_firstlineno
    if not inspect.iscoroutinefunction(main):
        raise ScriptFailed(f"{path.name}, line {line}: {wanted}, and it is not async; write `async` before `def main`")
    if not [one for one in inspect.signature(main).parameters.values() if one.kind is one.POSITIONAL_OR_KEYWORD]:
        raise ScriptFailed(f"{path.name}, line {line}: {wanted}, and it takes nothing; its first parameter is wf")
    return main
