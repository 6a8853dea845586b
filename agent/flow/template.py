"""The prompt of a map: names of columns in braces, and nothing else that is evaluated."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fastslow.agent.errors import ConfigurationError

_PARTS = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


@dataclass(frozen=True, slots=True)
class Template:
    """A text with `{column}` in it; `{{` and `}}` are braces. A name is looked up as it stands, never evaluated.

    >>> Template.of("Classify {text} as {{urgent}} or not").filled({"text": "the {roof} burns"})
    'Classify the {roof} burns as {urgent} or not'
    """

    text: str
    columns: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Template:
        """ConfigurationError for a brace that stands alone."""
        names: dict[str, None] = {}
        for part in _PARTS.finditer(text):
            if part[0] in "{}":
                place = text[max(0, part.start() - 20) : part.end() + 20]
                raise ConfigurationError(f"a brace stands alone in the prompt, in {place!r}; write it twice")
            if part[1] is not None:
                names.setdefault(part[1].strip())
        return cls(text, tuple(names))

    def filled(self, values: Mapping[str, str]) -> str:
        """With the values in the places of their names. KeyError for one that is missing."""
        return "".join(self._pieces(values))

    @property
    def plain(self) -> str:
        """With the names left in their braces."""
        return self.filled({name: f"{{{name}}}" for name in self.columns})

    def _pieces(self, values: Mapping[str, str]) -> Iterator[str]:
        end = 0
        for part in _PARTS.finditer(self.text):
            yield self.text[end : part.start()]
            yield part[0][0] if part[1] is None else values[part[1].strip()]
            end = part.end()
        yield self.text[end:]
