"""The head of a SKILL.md: fields in YAML between two lines `---`, read with care, and mended where people write them
so that YAML does not take them."""

from __future__ import annotations

import json
import re
from typing import Any

LARGEST = 16 << 10  # characters of a head
PARTS, DEEPEST = 500, 8  # values in it, and levels
BRACKETS = 200  # PyYAML looks ahead over open ones, in the square of their number

_HEAD = re.compile(r"---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
# A plain value on the line of its key, with the lines that go on from it. What begins otherwise is quoted, a block, a
# list or a mapping already.
_PLAIN = re.compile(r"^([A-Za-z][\w-]*):[ \t]+([^\s\"'|>\[{&*!#].*(?:\n[ \t]+\S.*)*)$", re.MULTILINE)


def split(text: str) -> tuple[dict[str, Any], str]:
    """The fields of a text's head, and the text behind it. Each value is a text, a list or a dict: `yes`, `1.0` and
    dates stay as they were written. ValueError, whose message goes on from `it`, for a head that cannot be read."""
    head = _HEAD.match(text[: LARGEST + 10])
    if not head:
        raise ValueError(f"does not begin with fields between two lines `---`, of {LARGEST:,} characters at most")
    try:
        fields = _read(head[1])
    except ValueError:
        fields = _read(_PLAIN.sub(lambda line: f"{line[1]}: {json.dumps(' '.join(line[2].split()))}", head[1]))
    return fields, text[head.end() :]


def _read(head: str) -> dict[str, Any]:
    """The fields of YAML that has no anchors, tags or depths: those are of no use here, and cost time and memory."""
    import yaml  # here, since most projects have no skills

    # Both make texts, lists and dicts alone; with libyaml in a tenth of the time.
    loader = yaml.CBaseLoader if yaml.__with_libyaml__ else yaml.BaseLoader
    depth = parts = 0
    if head.count("[") + head.count("{") > BRACKETS:
        raise ValueError(f"has a head with over {BRACKETS} brackets")
    try:
        for event in yaml.parse(head, loader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            parts += 1
            if isinstance(event, yaml.AliasEvent) or depth > DEEPEST or parts > PARTS:
                raise ValueError(f"has a head with aliases, over {PARTS} values, or lists more than {DEEPEST} deep")
        fields = yaml.load(head, loader)  # noqa: S506 - see above
    except yaml.YAMLError as error:
        raise ValueError(f"has a head that is no YAML: {' '.join(str(error).split()):.200}") from error
    if not isinstance(fields, dict):
        raise ValueError("has a head without fields, such as `name: …`")
    return fields
