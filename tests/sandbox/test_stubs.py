"""The source of the module `tools`: Python that says what each function takes, and nothing that a schema smuggles."""

import ast
import inspect
from typing import Any

import pytest

from fastslow.sandbox.sandbox import HostFunction
from fastslow.sandbox.stubs import source


def module(*functions: HostFunction) -> Any:
    """The module as the guest makes it, with calls that return what they are given."""
    names: dict[str, Any] = {"_call": lambda *call: call, "ToolError": Exception}
    exec(compile(source(functions), "<tools>", "exec", dont_inherit=True), names)
    return type(
        "tools", (), {key: staticmethod(value) if inspect.isfunction(value) else value for key, value in names.items()}
    )


def function(
    name: str = "f", required: tuple[str, ...] = (), about: str = "Does it.", **properties: Any
) -> HostFunction:
    return HostFunction(name, about, {"type": "object", "properties": properties, "required": list(required)})


def test_signatures() -> None:
    tools = module(
        function(
            required=("q", "where"),
            limit={"type": "integer", "default": 3},
            q={"type": "string", "description": "the\nquery"},
            where={"enum": ["web", "news"]},
            score={"type": "number"},
            tags={"type": "array", "items": {"type": "string"}, "default": []},
            filters={"type": "object", "properties": {"a": {"type": "string"}}},
            maybe={"anyOf": [{"type": "boolean"}, {"type": "null"}]},
            several={"type": ["string", "integer"], "default": "x"},
            anything={},
        )
    )
    assert str(inspect.signature(tools.f)).replace("'", '"') == (
        '(q: "str", where: "Literal["web", "news"]", *, limit: "int" = 3, score: "float | None" = None, '
        'tags: "list[str]" = [], filters: "dict | None" = None, maybe: "bool | None" = None, '
        'several: "str | int" = "x", anything: "Any" = None) -> "Any"'
    )
    assert inspect.getdoc(tools.f) is not None
    assert "Does it." in tools.f.__doc__
    assert "q: the query" in tools.f.__doc__
    given = {"q": "a", "where": "web", "limit": 3, "tags": [], "several": "x"}
    assert tools.f("a", "web") == ("f", given)
    assert tools.f("a", where="web", score=1.5) == ("f", {**given, "score": 1.5})


def test_references_are_followed_and_end() -> None:
    schema = {
        "properties": {"a": {"$ref": "#/$defs/Names"}, "b": {"$ref": "#/$defs/Tree"}, "c": {"$ref": "#/$defs/None"}},
        "required": ["a", "b", "c"],
        "$defs": {
            "Names": {"type": "array", "items": {"type": "string"}},
            "Tree": {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
        },
    }
    signature = inspect.signature(module(HostFunction("f", "", schema)).f)
    assert signature.parameters["a"].annotation == "list[str]"
    assert signature.parameters["b"].annotation.startswith("list[list[")
    assert signature.parameters["c"].annotation == "Any"


@pytest.mark.parametrize(
    "text",
    [
        '"""\nimport os\n"""',
        "\\",
        'ends with "',
        '\\"""',
        'a\n"""',
        "nul \0 byte",
        "half \ud800 pair",
        "",
        "\r\u2028x",
        '""""',
    ],
)
def test_no_description_breaks_out(text: str) -> None:
    made = source([function(about=text, a={"type": "string", "description": text, "default": text})])
    tree = ast.parse(made)
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    assert [type(node) for node in tree.body] == [
        ast.Expr,
        ast.ImportFrom,
        ast.ImportFrom,
        ast.FunctionDef,
        ast.FunctionDef,
        ast.ClassDef,
    ]


@pytest.mark.parametrize(
    "name", ["class", "a-b", "", "1a", "a b", "f(): pass\nimport os", "aio", "ToolError", "_call", "None"]
)
def test_names_that_python_cannot_write_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be used in Python code"):
        source([function(name)])
    with pytest.raises(ValueError, match="f: the argument name"):
        source([HostFunction("f", "", {"properties": {name: {"type": "string"}}})])


def test_a_name_that_comes_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="comes twice: f, f"):
        source([function("f"), function("f")])


def test_a_default_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        source([function(a={"type": "number", "default": float("inf")})])


def test_a_function_named_as_a_builtin_harms_no_other() -> None:
    tools = module(function("dict", a={"type": "object"}), function("f", ("x",), x={"type": "object"}))
    assert tools.f({"a": 1}) == ("f", {"x": {"a": 1}})
    assert tools.dict() == ("dict", {})


def test_no_function_at_all() -> None:
    assert module().aio
