"""Whether a module is migrated: `python gate.py NAME` in its folder. Its tests are green, and no old format is left."""

import ast
import re
import subprocess
import sys
from pathlib import Path

OLD = re.compile(r"%(\(\w+\))?[-+0#]*(\d+|\*)?(\.\d+)?[diouxXeEfgGcrsa]")


def old_formats(source: str) -> list[str]:
    """The lines that have a text with `%s` and the like in it, or use `%` on a text."""
    found = []
    for node in ast.walk(ast.parse(source)):
        text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
        operand = node.left if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod) else None
        if OLD.search(text) or (isinstance(operand, ast.Constant | ast.JoinedStr) and not _is_number(operand)):
            found.append(node.lineno)
    lines = source.splitlines()
    return [f"line {number}: {lines[number - 1].strip()}" for number in sorted(set(found))]


def _is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float)


def main(name: str) -> int:
    try:
        old = old_formats(Path(f"{name}.py").read_text("utf-8"))
    except SyntaxError as error:
        print(f"{name}.py is no Python any more: {error}")
        return 1
    if old:
        print(f"{name}.py still has the old format:", *old, sep="\n")
        return 1
    return subprocess.run([sys.executable, "-B", "-m", "unittest", "-q", f"test_{name}"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
