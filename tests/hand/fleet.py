"""A project of more than 1,000 files, made by rule: what its devices report goes through five stages, whose rules stand
in long documents. Four rules in three of the stages are not coded as they are written."""

from __future__ import annotations

from collections.abc import Iterator

MAKERS, MODELS, RULES = 40, 25, 100
STAGES = ("decode", "convert", "correct", "limit", "rate")
WRONG = {("convert", 37), ("correct", 12), ("correct", 81), ("rate", 64)}  # stage and rule that are coded wrongly
VERBS = {"plus": "adds {} to", "times": "multiplies by {}", "most": "cuts down to {}", "least": "lifts up to {}"}
CODE = {"plus": "value + {}", "times": "value * {}", "most": "min(value, {})", "least": "max(value, {})"}
WHY = (
    "since the sensor's housing warms the probe in the sun and the first minutes of a day count double",
    "because the line to the gateway loses its last digit, which was agreed with the maker",
    "as the older boards were sold with a divider that the newer ones lack",
    "which the field tests of two winters have shown to be right within a tenth",
)


def fleet() -> dict[str, str]:
    """By path, what a file holds."""
    files = {
        "README.md": "# fleet\n\nWhat devices report, through five stages. Their rules stand in `docs/stages`.\n",
        "fleet/__init__.py": '"""What devices report."""\n',
        "fleet/devices/__init__.py": "",
        "fleet/stages/__init__.py": "",
        "fleet/report.py": REPORT,
        "tests/test_report.py": f"{TEST}\nTOTAL = {total()}\n",
    }
    for maker in range(MAKERS):
        files[f"fleet/devices/maker{maker:02}/__init__.py"] = f'"""Devices of maker {maker}."""\n'
        for model in range(MODELS):
            files[f"fleet/devices/maker{maker:02}/model{model:02}.py"] = device(maker, model)
    for stage in STAGES:
        files[f"docs/stages/{stage}.md"] = f"# The stage {stage}\n\n" + "\n\n".join(written(stage)) + "\n"
        files[f"fleet/stages/{stage}.py"] = coded(stage)
    return files


def device(maker: int, model: int) -> str:
    number = maker * MODELS + model
    rules = [(number * step + step) % RULES for step in (1, 3, 7, 9, 11)]
    return f'"""Model {model} of maker {maker}."""\n\nRAW = {number % 89 + 5}\nRULES = {rules}\n'


def rule(stage: str, number: int) -> tuple[str, int]:
    """What a rule does, and by how much."""
    kind = list(VERBS)[(number * 7 + len(stage)) % len(VERBS)]
    return kind, {"plus": 1, "times": 2, "most": 90, "least": 10}[kind] + number * 13 % 11


def written(stage: str) -> Iterator[str]:
    for number in range(RULES):
        kind, amount = rule(stage, number)
        yield f"**{number}.** Rule {number} {VERBS[kind].format(amount)} the value, {WHY[(number + len(stage)) % 4]}."


def coded(stage: str) -> str:
    functions = []
    for number in range(RULES):
        kind, amount = rule(stage, number)
        amount += 3 * ((stage, number) in WRONG)
        head = f'def {stage}_{number}(value):\n    """Rule {number} of the stage."""'
        functions.append(f"{head}\n    return {CODE[kind].format(amount)}")
    table = ", ".join(f"{stage}_{number}" for number in range(RULES))
    return f'"""The stage {stage}, by the rules of docs/stages/{stage}.md."""\n\n\n' + "\n\n\n".join(
        [*functions, f"ALL = [{table}]\n"]
    )


def total() -> int:
    """What all devices report together where each rule is as it is written."""
    do = {"plus": int.__add__, "times": int.__mul__, "most": min, "least": max}
    summed = 0
    for number in range(MAKERS * MODELS):
        value = number % 89 + 5
        for stage, step in zip(STAGES, (1, 3, 7, 9, 11), strict=True):
            kind, amount = rule(stage, (number * step + step) % RULES)
            value = do[kind](value, amount)
        summed += value
    return summed


REPORT = '''"""What all devices report together."""

from importlib import import_module
from pathlib import Path

STAGES = [import_module(f"fleet.stages.{name}") for name in ("decode", "convert", "correct", "limit", "rate")]


def reported(device):
    value = device.RAW
    for stage, rule in zip(STAGES, device.RULES):
        value = stage.ALL[rule](value)
    return value


def devices():
    for path in sorted(Path(__file__).parent.glob("devices/*/model*.py")):
        yield import_module(f"fleet.devices.{path.parent.name}.{path.stem}")


def total():
    return sum(reported(device) for device in devices())
'''
TEST = """import unittest

from fleet.report import devices, total


class TestReport(unittest.TestCase):
    def test_all_devices_are_found(self):
        self.assertEqual(len(list(devices())), 1000)

    def test_the_total_is_that_of_the_written_rules(self):
        self.assertEqual(total(), TOTAL)

"""
