"""Asks the leaderboard's checker about one answer: a program, given the package's folder; JSON in, JSON out.

The checker wants one switch out of a table of all models, whose import would need the packages of every vendor; the
table given to it here has one model, with that switch: names have underscores for dots.
"""

from __future__ import annotations

import json
import sys
from types import ModuleType, SimpleNamespace

MODEL = "fastslow"


def main() -> None:
    """Check what stands on standard input."""
    sys.path.insert(0, sys.argv[1])
    table = ModuleType("bfcl_eval.constants.model_config")
    table.MODEL_CONFIG_MAPPING = {MODEL: SimpleNamespace(underscore_to_dot=True)}  # type: ignore[attr-defined]
    sys.modules[table.__name__] = table
    from bfcl_eval.constants.enums import Language  # type: ignore[import-not-found]
    from bfcl_eval.eval_checker.ast_eval.ast_checker import ast_checker  # type: ignore[import-not-found]

    asked = json.load(sys.stdin)
    told = ast_checker(asked["functions"], asked["output"], asked["answers"], Language.PYTHON, asked["category"], MODEL)
    json.dump({"valid": bool(told["valid"]), "error": told.get("error", [])}, sys.stdout)


if __name__ == "__main__":
    main()
