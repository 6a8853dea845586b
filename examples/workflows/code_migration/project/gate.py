"""Whether a module is migrated: `python gate.py NAME` in its folder. Its tests are green, and no old format is left."""

import ast
import re
import subprocess
import sys
from pathlib import Path

OLD = re.compile(r"%(\(\w+\))?[-+0#]*(\d+|\*)?(\.\d+)?[diouxXeEfgGcrsa]")


def old_formats(source: str) -> list[str]:
    """The lines that have a text with `%s` and the like in it, use `%` on a text, or call its `format`."""
    lines = source.splitlines()
    found = sorted({node.lineno for node in ast.walk(ast.parse(source)) if is_old(node)})
    return [f"line {number}: {lines[number - 1].strip()}" for number in found]


def is_old(node: ast.AST) -> bool:
    match node:
        case ast.Constant(value=str(text)):
            return bool(OLD.search(text))
        case ast.BinOp(left=ast.Constant(value=str()) | ast.JoinedStr(), op=ast.Mod()):
            return True
        case ast.Call(func=ast.Attribute(attr="format")):
            return True
    return False


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
