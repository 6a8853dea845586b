"""`polyglot-python`: the Python exercises of aider's benchmark (https://github.com/Aider-AI/polyglot-benchmark)."""

from __future__ import annotations

import json
from pathlib import Path

from fastslow.agent.errors import ConfigurationError
from fastslow.agent.evals.case import Case
from fastslow.agent.evals.repository import Repository
from fastslow.agent.evals.suites.brought import checkout, contents, shuffled

ADDRESS = "https://github.com/Aider-AI/polyglot-benchmark"
PRACTICE = "python/exercises/practice"
CONFIG, EXAMPLE = ".meta/config.json", ".meta/example.py"
INSTRUCTIONS = (".docs/introduction.md", ".docs/instructions.md", ".docs/instructions.append.md")
ASKED = (
    "{told}\n\nCarry this out in {files}, which has the names that the tests ask for: keep them. The tests are in "
    "{tests}. Use the standard library alone."
)


def polyglot_python(seed: int, folder: Path | None = None) -> tuple[Case, ...]:
    """A case for each exercise. Raises ConfigurationError where the repository is not to be had, or is another."""
    root = checkout("polyglot-benchmark", ADDRESS, PRACTICE, folder)
    found = [_case(path) for path in sorted((root / PRACTICE).iterdir()) if (path / CONFIG).is_file()]
    return shuffled(found, f"{seed}/polyglot")


def _case(root: Path) -> Case:
    try:
        files = json.loads((root / CONFIG).read_text("utf-8"))["files"]
        asked, tests = list(files["solution"]), list(files["test"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{root / CONFIG} should name files.solution and files.test: {error!r}") from error
    repository = Repository(
        files=contents(root, *asked, *tests),
        test=f"python -m pytest -q -p no:cacheprovider {' '.join(tests)}",
        tests=frozenset(tests),
        solution=dict(zip(asked, contents(root, EXAMPLE).values(), strict=False)),
    )
    told = "\n\n".join(text.decode("utf-8").strip() for text in contents(root, *INSTRUCTIONS).values())
    task = ASKED.format(told=told, files=", ".join(asked), tests=", ".join(tests))
    return Case("polyglot-python", "python", root.name, task, repository=repository)
