"""Asks the leaderboard's own code: a program, given the package's folder; JSON in, JSON out.

Of one answer whether it is right; of calls in one of its worlds what they give, or whether they leave behind what the
right ones do. Its checker wants one switch out of a table of all models, whose import would need the packages of every
vendor; the table given to it here has one model, with that switch: names have underscores for dots.
"""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from types import ModuleType, SimpleNamespace
from typing import Any

MODEL = "fastslow"


def main() -> None:
    """Answer what stands on standard input."""
    sys.path.insert(0, sys.argv[1])
    asked = json.load(sys.stdin)
    with redirect_stdout(sys.stderr):
        told = right(asked) if "output" in asked else left(asked) if "made" in asked else given(asked)
    json.dump(told, sys.stdout)


def right(asked: dict[str, Any]) -> dict[str, Any]:
    """Whether calls are those that were wanted."""
    table = ModuleType("bfcl_eval.constants.model_config")
    table.MODEL_CONFIG_MAPPING = {MODEL: SimpleNamespace(underscore_to_dot=True)}  # type: ignore[attr-defined]
    sys.modules[table.__name__] = table
    from bfcl_eval.constants.enums import Language  # type: ignore[import-not-found]
    from bfcl_eval.eval_checker.ast_eval.ast_checker import ast_checker  # type: ignore[import-not-found]

    told = ast_checker(asked["functions"], asked["output"], asked["answers"], Language.PYTHON, asked["category"], MODEL)
    return {"valid": bool(told["valid"]), "error": told.get("error", [])}


def given(asked: dict[str, Any]) -> list[str]:
    """What each of some calls gives, in a world that begins with them."""
    from bfcl_eval.eval_checker.multi_turn_eval.multi_turn_utils import (  # type: ignore[import-not-found]
        execute_multi_turn_func_call,
    )

    world = asked["world"]
    results, _ = execute_multi_turn_func_call(
        asked["calls"], world["initial_config"], world["involved_classes"], MODEL, world["id"]
    )
    return list(map(str, results))


def left(asked: dict[str, Any]) -> dict[str, Any]:
    """Whether the calls made for each task leave behind what the right ones do."""
    from bfcl_eval.eval_checker.multi_turn_eval.multi_turn_checker import (  # type: ignore[import-not-found]
        multi_turn_checker,
    )

    world = asked["world"]
    steps = [[[call] for call in calls] for calls in asked["made"]]
    told = multi_turn_checker(steps, asked["answers"], world, world["id"].rsplit("_", 1)[0], MODEL)
    return {
        "valid": bool(told["valid"]),
        "error_type": told.get("error_type"),
        "error_message": told.get("error_message"),
    }


if __name__ == "__main__":
    main()
