"""The tool `search`: ripgrep in the sandbox."""

from __future__ import annotations

import shlex

from fastslow.sandbox.sandbox import Execution
from fastslow.tools.builtin.files import ROOM, name_of
from fastslow.tools.builtin.text import CHARACTERS, cut
from fastslow.tools.errors import ToolError
from fastslow.tools.function import tool
from fastslow.tools.result import Outcome
from fastslow.tools.tool import caller

MATCHES = 100  # lines of one result
COLUMNS = 250  # characters of a line
PATTERN = 10_000  # characters of a pattern
SECONDS = 30.0
OPTIONS = (
    *("rg", "--no-config", "--no-messages", "--color", "never", "--no-heading", "--with-filename", "--line-number"),
    *("--null", "--hidden", "--sort", "path", "--max-columns", str(COLUMNS), "--max-columns-preview"),
)


@tool(effect="read", place="sandbox")
async def search(pattern: str, path: str = ".", glob: str = "") -> Outcome:
    """Search the contents of files for a regular expression. Each match comes as `path:line: text`.

    Args:
        pattern: The regular expression. Put a backslash before . ( ) [ ] { } * + ? ^ $ | to search for the character.
        path: The file or folder to search; by default the working folder.
        glob: Only files of names like this, such as `*.py`.
    """
    listener = caller.get()
    if not pattern or len(pattern) > PATTERN or "\0" in pattern + glob:
        raise ToolError(f"A pattern has 1 to {PATTERN:,} characters, none of them NUL; search for less.")
    where = f"./{folder_of(path)}"
    session = await listener.open_session()
    execution = await session.shell(_command(pattern, where, glob), seconds=listener.limit(SECONDS))
    return Outcome(_told(execution, pattern, path, glob), limit=ROOM, variables=execution.state)


def folder_of(path: str) -> str:
    """A path's one spelling in the workspace, `""` for the workspace itself. ToolError for one that leads out of it."""
    path = path.strip()
    return "" if path.rstrip("/") in ("", ".", "/work") and path != "/" else name_of(path)


def _command(pattern: str, where: str, glob: str) -> str:
    """Ends with the number of lines that were found, which are not all printed. No word of it is the shell's."""
    words = list(OPTIONS)
    words += ["--multiline"] if "\n" in pattern or r"\n" in pattern else []
    words += ["--glob", glob] if glob else []
    words += ["--glob", "!.git", "--", pattern, where]
    return f"set -o pipefail; {shlex.join(words)} | sed -n -e '1,{MATCHES}p' -e '$='"


def _told(execution: Execution, pattern: str, path: str, glob: str) -> str:
    """The matches; ToolError where there could not be any."""
    if execution.exit_code == 127:
        raise ToolError("There is no ripgrep here. Use the shell tool: grep -rnE -- 'pattern' path")
    if execution.status in ("timeout", "died"):
        raise ToolError("The search took too long. Search in a smaller folder, or for files of one kind by glob.")
    *found, count = execution.stdout.rstrip("\n").split("\n")
    if not found:
        if execution.exit_code == 1:
            like = f" in files like {glob}" if glob else ""
            return f"No match for {pattern!r} in {folder_of(path) or 'the working folder'}{like}."
        raise ToolError(_refusal(execution.stderr, path))
    lines, room = list[str](), CHARACTERS
    for line in map(_match, found):
        room -= len(line) + 1
        if room < 0:
            break
        lines.append(line)
    more = (int(count) if count.isdecimal() else len(found)) - len(lines)
    return "\n".join([*lines, *([f"(and {more:,} more: narrow the pattern, path or glob)"] if more else [])])


def _match(line: str) -> str:
    """A line as ripgrep prints it, `path NUL number:text`, which no path can make ambiguous."""
    path, _, rest = line.partition("\0")
    number, _, text = rest.partition(":")
    return f"{path.removeprefix('./')}:{number}: {cut(text, COLUMNS * 2)}" if rest else path.removeprefix("./")


def _refusal(said: str, path: str) -> str:
    """What ripgrep refuses, in one sentence."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    error = next((line for line in lines if line.startswith("error")), lines[0] if lines else "")
    if not error:
        return f"{path} cannot be searched: there is no such file or folder. See list_files."
    return f"The search was refused: {error.removeprefix('error: ').rstrip('.')}. Mend the pattern or the glob."
