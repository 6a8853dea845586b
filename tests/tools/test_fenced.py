"""Code blocks in text."""

from __future__ import annotations

import time

import pytest

from fastslow.tools.fenced import first_block, unfenced_command, unfenced_python


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```python\nx = 1\n```", "x = 1"),
        ("```py\nx = 1\n```\n", "x = 1"),
        ("```Python3 title=a\nx = 1\n```", "x = 1"),
        ("```\nx = 1\n```", "x = 1"),
        ("So:\n\n```python\nx = 1\n\ny = 2\n```\nand\n```python\nz\n```", "x = 1\n\ny = 2"),
        ("```json\n{}\n```\n```python\nx = 1\n```", "x = 1"),
        ("1. First:\n   ```python\n   if x:\n       y\n   ```", "if x:\n    y"),
        ('```python\ns = """\n~~~\n"""\n```', 's = """\n~~~\n"""'),
        ("````python\nprint('''\n```\n''')\n````", "print('''\n```\n''')"),
        ("```python\n```", ""),
    ],
)
def test_first_block(text: str, code: str) -> None:
    block = first_block(text)
    assert block is not None
    assert (block.code, block.closed) == (code, True)
    assert text[block.start : block.end].strip().endswith("```")


@pytest.mark.parametrize(
    "text",
    ["", "no code", "`x = 1`", "text ```python inline```", "```sql\nSELECT 1\n```", "```sql\nSELECT 1"],
)
def test_no_block(text: str) -> None:
    assert first_block(text) is None


def test_open_block() -> None:
    block = first_block("Look:\n```python\nx = 1\ny = ")
    assert block is not None
    assert (block.code, block.closed) == ("x = 1\ny = ", False)


WHOLE = "for n in range(2):\n    print(n)"


@pytest.mark.parametrize(
    ("written", "code"),
    [
        (f"```python\n{WHOLE}\n```", WHOLE),
        (f"```Python3\n{WHOLE}\n```\n", WHOLE),
        (f"\n\n```\n{WHOLE}\n```\n\n", WHOLE),
        (f"~~~python\n{WHOLE}\n~~~", WHOLE),
        (f"~~~~\n{WHOLE}\n~~~~", WHOLE),
        (f"Here is the code:\n\n```python\n{WHOLE}\n```\n\nIt prints two numbers.", WHOLE),
        (f"Solution\n```python\n{WHOLE}\n```", WHOLE),
        ("First:\n```python\nx = 1\n```\nThen:\n```python\nprint(x)\n```", "x = 1\nprint(x)"),
        ("Install:\n```bash\nls\n```\nRun:\n```python\nx\n```", "x"),
        (f"```python\n{WHOLE}", WHOLE),
        (f"{WHOLE}\n```", WHOLE),
        ("1. So:\n   ```python\n   if x:\n       y\n   ```", "if x:\n    y"),
        ("```python\nawait f()\n%time x\nfiles = !ls\n```", "await f()\n%time x\nfiles = !ls"),
        ("```python\nprint(1\n```", "print(1"),  # its own error, not that of the fence
        ("```python\ns = '''\n```\nhi\n```\n'''\nprint(s)\n```", "s = '''\n```\nhi\n```\n'''\nprint(s)"),
        (
            'Write it:\n```python\nmd = """\n```python\nx\n```\n"""\n```\nDone.',
            'md = """\n```python\nx\n```\n"""',
        ),
        ("```print(1)```", "print(1)"),
        ("`print(1)`", "print(1)"),
        ("```python print(1)```", "print(1)"),
        ("```python\r\nprint(10)\r\n```\r\n", "print(10)"),
        ("```tool_code\nprint(1)\n```", "print(1)"),
        ("```python\n```", ""),
        ("\ufeffprint(1)", "print(1)"),
        ("```Python\nprint(33)\n```\n```\noutput\n33\n```", "print(33)"),  # what it would show
    ],
)
def test_python_is_taken_out_of_its_fence(written: str, code: str) -> None:
    assert unfenced_python(written) == code


@pytest.mark.parametrize(
    "code",
    [
        "",
        "print(1)",
        "print(",
        "s = '''\n```python\nx\n```\n'''",
        "s = '''\n~~~\nx\n~~~\n'''",
        "%matplotlib inline\ns = '''\n```python\nx\n```\n'''",
        "!ls\nfiles = !ls\ns = '''\n```python\nx\n```\n'''",
        "%%writefile README.md\n# Title\n```python\nx\n```\n",
        "%%bash\ncat <<EOF\n```\nEOF",
        "await f('```')",
        "```sql\nSELECT 1\n```",
        '"""\n```python\nx\n```',
        'readme = """\n```python\nx\n```\n"""\nopen("README.md" "w").write(readme',
    ],
)
def test_what_is_no_fence_around_the_code_stays(code: str) -> None:
    assert unfenced_python(code) == code


@pytest.mark.parametrize("language", ["", "bash", "sh", "shell", "console"])
def test_a_command_is_taken_out_of_its_fence(language: str) -> None:
    assert unfenced_command(f"\n```{language}\nls -l\necho `date`\n```\n") == "ls -l\necho `date`"
    assert unfenced_command(f"~~~{language}\nls\n~~~") == "ls"


@pytest.mark.parametrize(
    "command",
    ["ls", "`ls`", "cat > a.md <<EOF\n```bash\nls\n```\nEOF", "```python\nprint(1)\n```", "```bash", "```bash\nls"],
)
def test_what_is_no_fence_around_the_command_stays(command: str) -> None:
    assert unfenced_command(command) == command


def test_much_text_costs_little() -> None:
    started = time.perf_counter()
    unfenced_python("```python\n" * 20_000)
    unfenced_python("x(\n```\n" * 20_000)
    unfenced_python("(" * 50_000 + "\n```")
    assert time.perf_counter() - started < 2
