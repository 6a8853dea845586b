"""Rules that were measured on the user's own model: they stand before those of its profile.

One TOML file a model in the folder of the user's settings, as `fastslow tune` writes it:

    [[rule]]
    kind = "plan"
    budget = 80
    because = "12 of 16 right, 9 of 16 with the profile's rule"
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from fastslow.agent.errors import ConfigurationError
from fastslow.agent.folders import config_folder
from fastslow.agent.modes import Kind, ModeRule

_NAMES = {field.name for field in fields(ModeRule)}


def overlay_path(model: str) -> Path:
    """Where a model's rules are; the served id names the file."""
    return config_folder() / "modes" / f"{re.sub(r'[^A-Za-z0-9._-]', '_', model)}.toml"


def load_rules(path: Path) -> tuple[ModeRule, ...]:
    """The rules of a file. Raises ConfigurationError for one that says something else, FileNotFoundError."""
    try:
        told: Any = tomllib.loads(path.read_text("utf-8"))
        return tuple(_rule(each) for each in told["rule"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{path} holds no rules of modes: {error}; mend it, or remove it") from error


def _rule(told: dict[str, Any]) -> ModeRule:
    if unknown := set(told) - _NAMES:
        raise ValueError(f"a rule has {', '.join(sorted(_NAMES))}, got {', '.join(sorted(unknown))}")
    budget = told["budget"]
    if type(budget) is not int or budget < 0:  # a bool is an int, too
        raise ValueError(f"a budget is 0 or more tokens, got {budget!r}")
    return ModeRule(**{**told, "kind": Kind(told["kind"])})


def save_rules(path: Path, rules: Iterable[ModeRule], head: str) -> None:
    """Write rules, under what is said of them."""
    lines = [f"# {line}" for line in head.splitlines()]
    for rule in rules:
        lines += ["", "[[rule]]"]
        for field in fields(rule):
            value = getattr(rule, field.name)
            if value != field.default:
                lines.append(f"{field.name} = {json.dumps(value, ensure_ascii=False)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", "utf-8")
