"""Settings in JSON files, laid over each other."""

from __future__ import annotations

from fastslow.agent.evals.suites.projects.project import Draw, Project, Slip, Words


def _words(draw: Draw) -> Words:
    group, other = draw.sample(("server", "window", "backup", "mail"), 2)
    return {
        "pkg": draw.choice(("settings", "options", "prefs", "knobs")),
        "group": group,
        "other": other,
        "key": draw.choice(("port", "size", "limit", "speed")),
        "value": draw.randint(10, 99),
        "usual": draw.randint(100, 999),
        "word": draw.choice(("grün", "señal", "naïve", "café")),
    }


SETTINGS = Project(
    name="settings",
    words=_words,
    files={
        "README.md": """
# $pkg

Settings of a program: usual ones, and a file of the user's over them. No file is no error.
""",
        "$pkg/__init__.py": """
from $pkg.files import load, save
from $pkg.layers import find, merged

__all__ = ["find", "load", "merged", "save"]
""",
        "$pkg/files.py": '''
import json
from pathlib import Path


def load(path):
    """The settings of a JSON file; none where there is no file."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    return json.loads(text)


def save(settings, path):
    """Write settings as JSON, so that `load` reads them."""
    Path(path).write_text(json.dumps(settings, indent=2), encoding="utf-8")
''',
        "$pkg/layers.py": '''
import copy


def merged(base, changes):
    """New settings: those of `base` with `changes` over them, group by group. Neither of both is changed."""
    result = copy.deepcopy(base)
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


def find(settings, path, default=None):
    """The value at a path such as `$group.$key`; the default only where nothing is there."""
    for part in path.split("."):
        if not isinstance(settings, dict) or part not in settings:
            return default
        settings = settings[part]
    return settings
''',
        "tests/test_files.py": """
from $pkg import load, save


def test_no_file_is_no_settings(tmp_path):
    assert load(tmp_path / "none.json") == {}


def test_what_is_saved_is_loaded(tmp_path):
    settings = {"$group": {"$key": $value, "on": True, "name": "$word", "next": None}}
    save(settings, tmp_path / "s.json")
    assert load(tmp_path / "s.json") == settings
""",
        "tests/test_layers.py": """
from $pkg import find, merged

BASE = {"$group": {"$key": $usual, "on": True}, "$other": 1}


def test_changes_lie_over_the_base():
    assert merged(BASE, {"$group": {"$key": $value}}) == {"$group": {"$key": $value, "on": True}, "$other": 1}


def test_the_base_stays_as_it_is():
    base = {"$group": {"$key": $usual}}
    merged(base, {"$group": {"$key": $value}, "new": 1})
    assert base == {"$group": {"$key": $usual}}


def test_values_are_found():
    assert find(BASE, "$group.$key") == $usual
    assert find(BASE, "$group.none", 5) == 5
    assert find(BASE, "$other.$key") is None


def test_zero_and_false_are_values():
    assert find({"$group": {"$key": 0}}, "$group.$key", $usual) == 0
    assert find({"$group": False}, "$group", True) is False
""",
    },
    slips=(
        Slip(
            "shared state",
            "After merged(usual, user) the usual settings have the user's values too. They should stay untouched.",
            "$pkg/layers.py",
            "result = copy.deepcopy(base)",
            "result = base",
        ),
        Slip(
            "exception",
            "The program does not start for users who have no settings file yet; it dies in load().",
            "$pkg/files.py",
            "except FileNotFoundError:",
            "except KeyError:",
        ),
        Slip(
            "empty value",
            "find() gives the default for a setting that is 0 or False. It should do so only where nothing is set.",
            "$pkg/layers.py",
            "        settings = settings[part]\n    return settings\n",
            "        settings = settings[part]\n    return settings or default\n",
        ),
        Slip(
            "parsing",
            "test_what_is_saved_is_loaded in tests/test_files.py fails. Please look into it.",
            "$pkg/files.py",
            "json.dumps(settings, indent=2)",
            "str(settings)",
        ),
    ),
)
