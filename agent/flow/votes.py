"""Several samples of one row, of which the majority counts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastslow.agent.errors import ConfigurationError
from fastslow.tools.schema import resolve


@dataclass(frozen=True, slots=True)
class Votes:
    """The fields of an answer that are voted on: those that have an enum."""

    fields: tuple[str, ...]

    @classmethod
    def of(cls, schema: Mapping[str, Any] | None) -> Votes:
        """ConfigurationError where there is nothing to vote on."""
        known = schema if schema and schema.get("type") == "object" else {}
        names = tuple(name for name, part in known.get("properties", {}).items() if _enum(known, part))
        if not names:
            raise ConfigurationError(
                "votes need a schema of the type object with a field of given values ('enum'), and it has none"
            )
        return cls(names)

    def counted(self, outputs: Sequence[Mapping[str, Any]], of: int) -> tuple[dict[str, Any], dict[str, float]]:
        """The output that the majority agrees on, and which share of all samples agreed on each field. Of two values
        with as many votes the earlier one counts. What is not voted on comes from the first sample that agrees the
        most. of: how many samples there were, with those that gave no output."""
        winners, shares = {}, {}
        for name in self.fields:
            said = Counter(json.dumps(output[name], sort_keys=True) for output in outputs if name in output)
            if said:
                [(value, votes)] = said.most_common(1)
                winners[name], shares[name] = json.loads(value), round(votes / of, 3)
        agreed = max(outputs, key=lambda output: sum(output.get(name) == value for name, value in winners.items()))
        return {**agreed, **winners}, shares


def _enum(schema: Mapping[str, Any], part: Any) -> bool:
    if isinstance(part, Mapping) and isinstance(part.get("$ref"), str):
        part = resolve(schema, part["$ref"])
    return isinstance(part, Mapping) and "enum" in part
