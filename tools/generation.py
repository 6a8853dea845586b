"""A JSON schema of what pydantic validates, that says what JSON can hold and nothing else."""

from __future__ import annotations

import enum
import json
import typing
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import PydanticSerializationError, SchemaError, SchemaValidator, to_json, to_jsonable_python

from fastslow.tools.schema import resolve, subschemas
from fastslow.tools.signature import texts_of

# Whatever a type can raise when it is asked for its schema; some types import what they need only then.
GENERATION_ERRORS = (
    PydanticUserError,
    SchemaError,
    ImportError,
    NameError,
    TypeError,
    ValueError,
    AttributeError,
    RecursionError,
)

# What pydantic checks and JSON schema has no word for; the server is told it in words (see `tools.strict`).
_UNSAID = {
    **dict.fromkeys(("date", "datetime", "time", "timedelta"), ("ge", "gt", "le", "lt")),
    "decimal": ("max_digits", "decimal_places"),
}


def schema_of(adapter: TypeAdapter[Any]) -> dict[str, Any]:
    """The JSON schema of what pydantic validates, without titles. Raises one of GENERATION_ERRORS."""
    schema: dict[str, Any] = _untitled(adapter.json_schema(schema_generator=_Generator))
    for part in list(subschemas(schema)):
        if isinstance(tag := part.get("discriminator"), dict) and "oneOf" in part:
            for branch in part["oneOf"]:
                _require(resolve(schema, branch["$ref"]) if "$ref" in branch else branch, tag["propertyName"])
    return schema


def _require(branch: dict[str, Any], tag: str) -> None:
    """A tag may not be left out of a union, although it has a default where its model is made."""
    if tag in branch.get("properties", {}) and tag not in branch.get("required", ()):
        branch["required"] = [tag, *branch.get("required", ())]


class _Generator(GenerateJsonSchema):
    """Refuses what no JSON can be; leaves out defaults that JSON cannot hold, since Python has them."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012

    def encode_default(self, dft: Any) -> Any:
        if hasattr(dft, "get_secret_value"):
            raise PydanticSerializationError("a secret is no model's matter")
        try:
            encoded = super().encode_default(dft)
            json.dumps(encoded, allow_nan=False)
        except (ValueError, TypeError) as error:
            raise PydanticSerializationError(str(error)) from error
        return encoded

    def generate_inner(self, schema: Any) -> JsonSchemaValue:
        said = super().generate_inner(schema)
        rules = {key: schema[key] for key in _UNSAID.get(schema["type"], ()) if key in schema}
        return {**said, **to_jsonable_python(rules)} if rules else said

    def enum_schema(self, schema: Any) -> JsonSchemaValue:
        said = self._received(schema, super().enum_schema(schema))
        if issubclass(schema["cls"], enum.Flag):
            sums = {"type": "integer", "minimum": 0, "maximum": sum(said["enum"])}
            names = ", ".join(f"{member.value} is {member.name}" for member in schema["members"])
            return {**sums, "description": "\n".join(filter(None, [said.get("description"), f"a sum of: {names}"]))}
        if any(not isinstance(value, str) for value in said["enum"]):  # then their names say what they mean
            pairs = zip(said["enum"], schema["members"], strict=True)
            names = ", ".join(f"{json.dumps(value)} is {member.name}" for value, member in pairs)
            said["description"] = "\n".join(filter(None, [said.get("description"), names]))
        return said

    def model_field_schema(self, schema: Any) -> JsonSchemaValue:
        return super().model_field_schema(_readable(schema))

    def dataclass_field_schema(self, schema: Any) -> JsonSchemaValue:
        return super().dataclass_field_schema(_reachable(schema))

    def typed_dict_field_schema(self, schema: Any) -> JsonSchemaValue:
        return super().typed_dict_field_schema(_readable(schema))

    def model_schema(self, schema: Any) -> JsonSchemaValue:
        return _described(schema["cls"], super().model_schema(schema))

    def dataclass_schema(self, schema: Any) -> JsonSchemaValue:
        return _described(schema["cls"], super().dataclass_schema(schema))

    def typed_dict_schema(self, schema: Any) -> JsonSchemaValue:
        return _described(schema.get("cls"), super().typed_dict_schema(schema))

    def get_title_from_name(self, name: str) -> str:
        return name

    def literal_schema(self, schema: Any) -> JsonSchemaValue:
        return self._received(schema, super().literal_schema(schema))

    def is_subclass_schema(self, schema: Any) -> JsonSchemaValue:
        return self.handle_invalid_for_json_schema(schema, "a class")

    def _received(self, schema: Any, said: JsonSchemaValue) -> JsonSchemaValue:
        """The schema, if the values that it names are taken: JSON has neither tuples nor members of an enum."""
        for value in said.get("enum", [said.get("const")]):
            try:
                SchemaValidator(schema).validate_json(to_json(value))
            except ValidationError:
                text = f"a value that JSON cannot send ({value!r}); take text, numbers, or the whole Enum of such"
                return self.handle_invalid_for_json_schema(schema, text)
        return said


def _reachable(field: Any) -> Any:
    """The field itself, if a name leads to it: pydantic has no schema of an AliasPath, and gives a wrong one."""
    alias = field.get("validation_alias")
    if isinstance(alias, list) and not any(isinstance(path, list) and len(path) == 1 for path in alias):
        raise PydanticInvalidForJsonSchema(f"the alias {alias} is a path; give the field a name of its own")
    return field


def _readable(field: Any) -> Any:
    """The field itself, if a name leads to it, and what it holds can be read more than once."""
    inner = field
    while "schema" in inner:
        inner = inner["schema"]
    if inner["type"] == "generator":
        raise PydanticInvalidForJsonSchema(
            "an Iterable becomes a stream that can be read once; take a list or Sequence"
        )
    return _reachable(field)


def _described(cls: Any, said: JsonSchemaValue) -> JsonSchemaValue:
    """The schema of a class with what its fields' types say of them, which pydantic reads in `Field` alone."""
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except (NameError, TypeError):
        return said  # types that are local somewhere
    for name, part in said.get("properties", {}).items():
        for text in texts_of(hints.get(name)):
            part.setdefault("description", text)
    return said


def _untitled(schema: Any) -> Any:
    """The schema without the titles that pydantic adds: they only repeat names, in every prompt.

    Those in a named tuple are the only names that it has.
    """
    if isinstance(schema, list):
        return [_untitled(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    plain: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("properties", "patternProperties", "$defs"):
            plain[key] = {name: _untitled(part) for name, part in value.items()}
        elif key == "prefixItems":
            plain[key] = [{**_untitled(part), **_named(part)} for part in value]
        elif key in ("default", "const", "enum", "examples", "discriminator"):
            plain[key] = value
        elif key != "title":
            plain[key] = _untitled(value)
    return plain


def _named(part: dict[str, Any]) -> dict[str, Any]:
    return {"description": part["title"]} if "title" in part and "description" not in part else {}
