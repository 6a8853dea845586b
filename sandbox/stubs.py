"""The source of the module `tools` that code in the sandbox sees: a typed function for each `HostFunction`."""

from __future__ import annotations

import json
import keyword
from collections.abc import Mapping, Sequence
from typing import Any

from fastslow.sandbox.sandbox import HostFunction

# What the module's own source needs; `_call`, `_call_async` and `ToolError` are put there by the guest (calls.py).
RESERVED = frozenset({"_call", "_call_async", "_merged", "ToolError", "aio", "Any", "Literal"})
HEAD = '''\
"""Functions of the host. Each also exists as `await tools.aio.<name>(…)`; a failed call raises `tools.ToolError`."""

from __future__ import annotations

from typing import Any, Literal


def _merged(required, optional):
    return required | {name: value for name, value in optional.items() if value is not None}
'''
TYPES = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "null": "None",
    "array": "list",
    "object": "dict",
}
DEPTH = 8  # of a type within a type; a schema may refer to itself


def source(functions: Sequence[HostFunction]) -> str:
    """Python source of the module. An optional argument without a default may be None, which means not given.

    ValueError for a name, of a function or an argument, that Python code could not write, or that comes twice.
    """
    _check("function", [function.name for function in functions])
    plain = [_function(function, "", "def", "return _call") for function in functions]
    awaited = [_function(function, "    ", "async def", "return await _call_async") for function in functions]
    aio = 'class aio:\n    """The same functions, to be awaited."""\n\n' + "\n".join(awaited)
    return "\n\n".join([HEAD, *plain, aio])


def _check(what: str, names: Sequence[str]) -> None:
    for name in names:
        if not name.isidentifier() or keyword.iskeyword(name) or name in RESERVED:
            raise ValueError(f"the {what} name {name!r} cannot be used in Python code; give it another one")
    if len(set(names)) < len(names):
        raise ValueError(f"a {what} name comes twice: {', '.join(sorted(names))}")


def signature(function: HostFunction) -> str:
    """How code writes a call: `search(q: str, *, limit: int = 10)`. ValueError as of `source`."""
    _check("function", [function.name])
    schema = function.parameters
    properties: Mapping[str, Any] = schema.get("properties") or {}
    try:
        _check("argument", list(properties))
    except ValueError as error:
        raise ValueError(f"{function.name}: {error}") from None
    required = [name for name in properties if name in (schema.get("required") or ())]
    optional = [name for name in properties if name not in required]
    parts = [f"{name}: {_type(properties[name], schema)}" for name in required]
    if optional:
        parts += ["*", *(_optional(name, properties[name], schema) for name in optional)]
    return f"{function.name}({', '.join(parts)})"


def _function(function: HostFunction, indent: str, define: str, call: str) -> str:
    schema = function.parameters
    properties: Mapping[str, Any] = schema.get("properties") or {}
    required = [name for name in properties if name in (schema.get("required") or ())]
    always = [name for name in properties if name in required or "default" in _facts(properties[name])]
    perhaps = [name for name in properties if name not in always]
    arguments = _dict(always)
    if perhaps:
        arguments = f"_merged({arguments}, {_dict(perhaps)})"
    lines = [
        f"{define} {signature(function)} -> Any:",
        f"    {_docstring(function, properties, indent + '    ')}",
        f"    {call}({function.name!r}, {arguments})",
    ]
    return "".join(f"{indent}{line}\n" for line in lines)


def _optional(name: str, schema: Any, root: Mapping[str, Any]) -> str:
    facts = _facts(schema)
    if "default" in facts:
        return f"{name}: {_type(schema, root)} = {_literal(facts['default'])}"
    kind = _type(schema, root)
    return f"{name}: {kind} = None" if "None" in kind or kind == "Any" else f"{name}: {kind} | None = None"


def _dict(names: Sequence[str]) -> str:
    return "{" + ", ".join(f"{name!r}: {name}" for name in names) + "}"


def _facts(schema: Any) -> Mapping[str, Any]:
    return schema if isinstance(schema, Mapping) else {}


def _literal(value: Any) -> str:
    json.dumps(value, allow_nan=False)  # ValueError or TypeError for what JSON, and so the call, cannot hold
    return repr(value)


def _type(schema: Any, root: Mapping[str, Any], depth: int = 0) -> str:
    """The annotation for a value of this schema; `Any` where it says too little."""
    facts = _facts(schema)
    if depth > DEPTH:
        return "Any"
    if isinstance(reference := facts.get("$ref"), str):
        name = reference.rpartition("/")[2]
        return _type((root.get("$defs") or root.get("definitions") or {}).get(name), root, depth + 1)
    if values := facts.get("enum", [facts["const"]] if "const" in facts else None):
        simple = all(value is None or isinstance(value, str | int) for value in values)
        return f"Literal[{', '.join(map(repr, values))}]" if simple else "Any"
    if parts := facts.get("anyOf") or facts.get("oneOf"):
        return _union([_type(part, root, depth + 1) for part in parts])
    kind = facts.get("type")
    if isinstance(kind, list):
        return _union([_type({**facts, "type": one}, root, depth + 1) for one in kind])
    if kind == "array" and facts.get("items"):
        return f"list[{_type(facts['items'], root, depth + 1)}]"
    return TYPES.get(kind, "Any") if isinstance(kind, str) else "Any"


def _union(kinds: Sequence[str]) -> str:
    return "Any" if "Any" in kinds else " | ".join(dict.fromkeys(kinds))


def _docstring(function: HostFunction, properties: Mapping[str, Any], indent: str) -> str:
    lines = function.description.strip().splitlines() or [function.name]
    if properties:
        lines += ["", "Args:"]
    for name, schema in properties.items():
        about = " ".join(str(_facts(schema).get("description", "")).split())
        lines.append(f"    {name}: {about}" if about else f"    {name}")
    if len(lines) > 1:
        lines.append("")
    text = f"\n{indent}".join(lines).replace("\\", "\\\\").replace('"""', '\\"\\"\\"').replace("\0", "")
    text = "\n".join(line.rstrip() if not line.strip() else line for line in text.split("\n"))
    if len(lines) > 1:
        text = text.rstrip() + f"\n{indent}"
    elif text.endswith('"'):
        text = text[:-1] + '\\"'
    return f'"""{text}"""'.encode("utf-8", "replace").decode()
