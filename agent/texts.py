"""Texts and names that come from outside: what no server, file or terminal takes is refused before a run begins."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from fastslow.agent.errors import ConfigurationError

_HALF = re.compile("[\ud800-\udfff]")


def check_text(what: str, text: Any) -> None:
    """ConfigurationError, which calls the text `what`, for one that is no Unicode, or is no text."""
    if not isinstance(text, str):
        raise ConfigurationError(f"{what} is a text, got {text!r:.80}")
    if not text.isascii() and (half := _HALF.search(text)):
        place = text[max(0, half.start() - 20) : half.end() + 20]
        raise ConfigurationError(
            f"{what} is no Unicode: character {half.start()} is half of one, in {place!r}; take it out, or "
            "read the text with the encoding that it was written in"
        )


def check_name(what: str, name: Any) -> None:
    """ConfigurationError for the name of a file that no list of names could show on one line of Unicode."""
    check_text(what, name)
    if odd := [character for character in name if unicodedata.category(character) in ("Cc", "Zl", "Zp")]:
        raise ConfigurationError(f"{what} {name!r} has {odd[0]!r} in it, a control character; rename the file")
