"""What a model is told of a folder."""

from __future__ import annotations

from fastslow.agent.tree.outline import outline, whole


def test_small_projects_are_listed_and_large_ones_folded() -> None:
    assert outline(["a.py", "src/b.py"]) == "The project's files (2):\na.py\nsrc/b.py"
    folded = outline([f"src/{n}/{m}.py" for n in range(30) for m in range(30)])
    assert "src/7/ (30 files)" in folded.splitlines()
    assert len(outline([f"{n}.py" for n in range(900)]).splitlines()) < 70


def test_each_file_stands_below_its_path_in_a_fence_that_it_does_not_hold() -> None:
    shown = whole({"a.py": "x = 1\n", "empty.py": "", "src/README.md": "So:\n```\nrun\n```\n"})
    assert shown == "a.py\n```py\nx = 1\n```\n\nsrc/README.md\n````md\nSo:\n```\nrun\n```\n````"
