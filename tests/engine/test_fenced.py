"""Code blocks in text."""

from __future__ import annotations

import pytest

from fastslow.agent.engine.fenced import first_block, stops_at_opening


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


def test_stop_at_a_bare_opening_fence() -> None:
    assert stops_at_opening("Here is the code:")
    assert not stops_at_opening("Here:\n```python\nx = 1")
    assert not stops_at_opening('```json\n{"a": 1}')
