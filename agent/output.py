"""The form of an answer: what `output=` asks for, as schema of the tool `answer` and as check of its arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema

from fastslow.agent.errors import ConfigurationError
from fastslow.agent.plan import ANSWER
from fastslow.tools import Tool


@dataclass(frozen=True, slots=True)
class Form:
    """What an answer must be. name: for people. tool: `answer`, whose arguments are the answer. adapter: what makes
    the value of them; None keeps them as they are, for a run whose type only the one who started it knows."""

    name: str
    tool: Tool
    adapter: TypeAdapter[Any] | None

    @classmethod
    def of(cls, output: type[BaseModel] | None) -> Form | None:
        """ConfigurationError for a type that has no JSON schema of an object."""
        if output is None:
            return None
        name = getattr(output, "__name__", str(output))
        try:
            adapter = TypeAdapter(output)
            schema = adapter.json_schema()
        except (PydanticUserError, PydanticInvalidForJsonSchema) as error:
            raise ConfigurationError(f"output={name} cannot be asked for: {error}") from error
        if schema.get("type") != "object":
            raise ConfigurationError(
                f"output={name} is no object with fields, which an answer has to be; wrap it in a pydantic model: "
                "class Answer(BaseModel): value: ..."
            )
        return cls(name, _answer(schema), adapter)

    @classmethod
    def from_schema(cls, schema: Mapping[str, Any]) -> Form:
        """The form of a recorded run, known by its schema alone."""
        return cls(str(schema.get("title", "the schema")), _answer(schema), None)

    @property
    def schema(self) -> Mapping[str, Any]:
        return self.tool.parameters

    def value(self, arguments: Mapping[str, Any]) -> Any:
        """The answer as the type makes it. ValueError, written for the model, where it does not fit."""
        if self.adapter is None:
            return dict(arguments)
        try:
            return self.adapter.validate_python(arguments)
        except ValidationError as error:
            raise ValueError(problems(error)) from error


def problems(error: ValidationError) -> str:
    """A pydantic error as the model reads it: path, what is wrong, what came."""
    lines = []
    for problem in error.errors():
        path = ".".join(str(part) for part in problem["loc"]) or "arguments"
        lines.append(f"{path}: {problem['msg']}, got {problem['input']!r:.80}")
    return "\n".join(lines)


def _answer(schema: Mapping[str, Any]) -> Tool:
    return Tool.from_schema(ANSWER, "Give the final answer. The task ends with it.", schema, _ends, effect="read")


def _ends(**arguments: Any) -> None:
    raise TypeError("the loop carries answers out itself; this tool cannot be run on its own")
