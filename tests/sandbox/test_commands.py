"""What people expect of a machine: commands, tests, version control, and plots in their own script."""

import time

import pytest

from fastslow.sandbox import DockerSession, image_manifest
from fastslow.sandbox.base import COMMANDS

pytestmark = pytest.mark.docker


@pytest.mark.parametrize("command", ["python", "pip", "pip3", *COMMANDS, "diff", "xargs", "perl"])
async def test_a_command_is_there(session: DockerSession, command: str) -> None:
    where = await session.shell(f"command -v {command} && {command} {'-v' if command == 'unzip' else '--version'}")
    assert where.exit_code == 0, where


def test_the_manifest_names_them(client: object) -> None:
    assert image_manifest(client).commands == COMMANDS  # type: ignore[arg-type]


async def test_git_works_and_waits_for_nobody(session: DockerSession) -> None:
    done = await session.shell(
        "git init --quiet && echo one > a.txt && git add . && git commit --quiet -m first && git log && "
        "for n in $(seq 300); do echo $n >> a.txt; done && git diff && git commit --quiet -am second && "
        "git log -p && git rebase --quiet -i --root && git commit --quiet --amend && git tag -a v1 -m v1 && "
        "mkdir sub && cd sub && git status --short",
        seconds=8,
    )
    assert done.status == "ok", done.stderr
    assert "Author: sandbox <sandbox@localhost>" in done.stdout
    started = time.monotonic()
    empty = await session.shell("echo x > b.txt; git add .; git commit; git push https://example.org/x.git main")
    assert time.monotonic() - started < 5
    assert "empty commit message" in empty.stderr
    assert "Could not resolve host" in empty.stderr


async def test_a_repository_from_outside_is_no_danger_to_git(session: DockerSession) -> None:
    await session.put("repo/a.txt", b"a\n")
    assert (await session.shell("cd repo && git init --quiet && git add . && git commit -m first")).exit_code == 0
    mine = await session.shell("cd repo && git config user.name me && git commit --allow-empty -m x && git log -1")
    assert "Author: me <sandbox@localhost>" in mine.stdout


async def test_a_patch_applies_and_tests_run(session: DockerSession) -> None:
    await session.put("calc.py", b"def add(a, b):\n    return a - b\n")
    await session.put("test_calc.py", b"from calc import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n")
    for pytest_command in ("pytest -q", "python -m pytest -q"):
        failed = await session.shell(pytest_command, seconds=20)
        assert "1 failed" in failed.stdout, failed
        assert "warning" not in failed.stdout
    await session.put(
        "fix.diff",
        b"--- a/calc.py\n+++ b/calc.py\n@@ -1,2 +1,2 @@\n def add(a, b):\n-    return a - b\n+    return a + b\n",
    )
    assert (await session.shell("patch -p1 < fix.diff")).exit_code == 0
    assert "1 passed" in (await session.shell("pytest -q", seconds=20)).stdout
    assert (await session.shell("rg -n 'a . b' *.py")).stdout == "calc.py:2:    return a + b\n"


@pytest.mark.parametrize(
    "install",
    [
        "pip install nonexistent-package",
        "pip3 install nonexistent-package",
        "python -m pip install nonexistent-package",
        "pip download nonexistent-package",
    ],
)
async def test_pip_says_what_to_do_without_a_network(session: DockerSession, install: str) -> None:
    started = time.monotonic()
    said = await session.shell(install)
    assert time.monotonic() - started < 6, "no retries"
    assert said.exit_code == 1
    assert "This sandbox has no network, so pip could not ask a package index." in said.stderr
    assert 'fastslow sandbox build --packages "NAME"' in said.stderr
    assert "externally-managed" not in said.stderr
    assert "Retrying" not in said.stdout + said.stderr


async def test_pip_says_so_in_python_too_and_not_when_all_is_well(session: DockerSession) -> None:
    for magic in ("%pip install nonexistent-package", "!pip install nonexistent-package"):
        assert "This sandbox has no network" in (await session.run(magic)).stderr
    fine = await session.shell("pip install numpy && pip list && pip check")
    assert fine.exit_code == 0
    assert "network" not in fine.stderr
    for listing in ("pip list", "pip freeze", "python -m pip list"):
        assert "pandas" in (await session.shell(listing)).stdout, listing
    wrong = await session.shell("pip install --no-such-option")
    assert "network" not in wrong.stderr


TITLES = {
    "Korean": "지역별 매출 현황 (2024년)",
    "Chinese": "各地区销售额 與 繁體中文",
    "Japanese": "地域別の売上高 カタカナ ひらがな",
    "mixed": "Sales 매출 销售 売上 αβγ Ω Привет \N{MINUS SIGN}5 → € 😀",
}
PLOT = """
import matplotlib.pyplot as plt
{setting}
fig, ax = plt.subplots()
ax.plot([-3, -2, -1], [-1, 0, 1], label="{title}")
ax.set_title("{title}", fontweight="bold")
ax.set_xlabel("{title}", family="monospace")
ax.set_ylabel("{title}", family="serif")
ax.text(-2, 0, "{title}", style="italic")
ax.legend()
plt.show()
"""
SETTINGS = (
    "",
    "plt.rcParams['font.family'] = 'NanumGothic'; plt.rcParams['axes.unicode_minus'] = False",
    "plt.rcParams['font.sans-serif'] = ['SimHei', 'Arial']; plt.rcParams['font.family'] = 'sans-serif'",
    "plt.style.use('seaborn-v0_8')",
)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("script", TITLES)
async def test_a_plot_finds_its_glyphs(session: DockerSession, script: str, setting: str) -> None:
    drawn = await session.run(PLOT.format(title=TITLES[script], setting=setting), seconds=30)
    assert drawn.status == "ok", drawn.error
    assert "missing from font" not in drawn.stderr
    assert [display for display in drawn.displays if "image/png" in display.data]
    lines = drawn.stderr.splitlines()
    assert len(lines) == len(set(lines)) <= 2, "a font that is not there is told once"


async def test_a_script_finds_them_too(session: DockerSession) -> None:
    code = PLOT.format(title=TITLES["mixed"], setting="").replace(
        "plt.show()", "plt.savefig('a.png'); plt.savefig('a.pdf')"
    )
    await session.put("plot.py", code.encode())
    drawn = await session.shell("python plot.py", seconds=30)
    assert (drawn.exit_code, drawn.stderr) == (0, "")


async def test_a_text_that_is_mathtext_finds_them(session: DockerSession) -> None:
    title = TITLES["mixed"] + TITLES["Korean"] + " $10 ~ $20 $x^2$"
    drawn = await session.run(PLOT.format(title=title, setting=""), seconds=30)
    assert (drawn.status, drawn.stderr) == ("ok", "")


async def test_missing_glyphs_are_told_once(session: DockerSession) -> None:
    thai = "ยอดขายตามภูมิภาค"  # Thai, which none of the fonts has
    for expected in (1, 0):
        drawn = await session.run(PLOT.format(title=thai, setting=""), seconds=30)
        assert drawn.stderr.count("missing from font") == expected
