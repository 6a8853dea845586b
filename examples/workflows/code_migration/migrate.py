"""Migrates a small project, module by module: the model rewrites, a gate of tests decides, and a patch comes out.

The project itself stays as it is; whoever likes the patch applies it.
"""

import re
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path

from fastslow import StepFailed, Workflow

HERE = Path(__file__).parent
REWRITE = """Rewrite a Python module so that it formats text with f-strings, and nowhere with the % operator. All else \
stays as it is, and each text that comes out is the same as before. Answer with the whole module in one block of code. \
Within an f-string quote with the other quotes.
%s or %d: {{x}}. %-4s: {{x:<4}}. %4d: {{x:4}}. %04d: {{x:04}}. %7.3f: {{x:7.3f}}. %r: \
{{x!r}}. %%: %. %(key)s: {{x['key']}}

```python
{source}```"""
AGAIN = """

Your last try was this:
```python
{code}```
It is wrong:
{output}

Write the whole module once more, without this mistake, in one block of code."""


@dataclass(frozen=True)
class Outcome:
    """What came of a module. why: what its last try failed at, `""` where it is migrated."""

    module: str
    migrated: bool
    tries: int
    why: str = ""


@dataclass(frozen=True)
class Migration:
    """outcomes: by module. patch: with those that are migrated; the whole project's tests are green with it."""

    outcomes: tuple[Outcome, ...]
    patch: Path


async def main(wf: Workflow, project: Path = HERE / "project", tries: int = 2) -> Migration:
    """Have each module of a project use f-strings in the place of %, as far as its tests stay green.

    Args:
        project: Its folder, with gate.py and a test_NAME.py for each NAME.py.
        tries: How often the model may try a module.
    """
    modules, tests = parts(project)
    new: dict[Path, str] = {}

    async def migrate(module: Path) -> Outcome:
        tried: list[str] = []
        found: list[str] = []

        async def rewrite(wrong: str | None) -> str:
            prompt = REWRITE.format(source=module.read_text("utf-8")) + (wrong or "")
            name = f"{module.name}, try {len(tried) + 1}"
            tried.append(await wf.agent(prompt, builtin=(), think="never", name=name))
            return code_in(tried[-1])

        async def gate(code: str) -> tuple[bool, str]:
            files = [wf.save(f"tried/{module.name}", code), project / f"test_{module.name}", project / "gate.py"]
            checked = await wf.check(f"python gate.py {module.stem}", files)
            found.append(checked.output.strip() or f"exit code {checked.exit_code}")
            return checked.ok, AGAIN.format(code=code, output=checked.output[-600:])

        try:
            new[module] = await wf.until(rewrite, gate, tries=tries)
        except StepFailed as failed:
            why = (found or [str(failed)])[-1].splitlines()[-1]
            return Outcome(module.name, migrated=False, tries=len(tried), why=why)
        return Outcome(module.name, migrated=True, tries=len(tried))

    outcomes = await wf.map(migrate, modules, at_once=4, on_error="raise")
    for one in outcomes:
        wf.log(
            f"{one.module:<14}{'migrated' if one.migrated else 'as it was':<11}{one.tries} tries  {one.why}".rstrip()
        )
    together = [wf.save(f"migrated/{path.name}", new[path]) if path in new else path for path in modules]
    checked = await wf.check("python -m unittest -q", [*together, *tests])
    if not checked.ok:
        raise ValueError(f"the modules do not go together: {checked.output}")
    patch = "".join(difference(path, code) for path, code in sorted(new.items()))
    return Migration(tuple(outcomes), wf.save("migration.patch", patch))


def parts(project: Path) -> tuple[list[Path], list[Path]]:
    """The modules of a project, and what proves them."""
    files = sorted(project.glob("*.py"))
    proofs = [path for path in files if re.match(r"test_|gate\.py", path.name)]
    return [path for path in files if path not in proofs], proofs


def code_in(answer: str) -> str:
    """The code of an answer: what stands in its block, or all of it where it has none."""
    block = re.search(r"```(?:python)?\n(.*?)```", answer, re.DOTALL)
    return (block[1] if block else answer).strip() + "\n"


def difference(module: Path, code: str) -> str:
    """As `git apply` and `patch -p1` read it."""
    before, after = module.read_text("utf-8").splitlines(keepends=True), code.splitlines(keepends=True)
    return "".join(unified_diff(before, after, f"a/{module.name}", f"b/{module.name}"))
