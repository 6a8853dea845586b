import pytest

from fastslow.sandbox.paths import workspace_path


@pytest.mark.parametrize(
    ("given", "relative"),
    [
        ("a.csv", "a.csv"),
        ("./data//b.csv", "data/b.csv"),
        ("/work/c/d.txt", "c/d.txt"),
        ("x/../y", "y"),
        ("naïve résumé.txt", "naïve résumé.txt"),
        ("Screenshot 9.41\u202fAM.png", "Screenshot 9.41\u202fAM.png"),
        ("👩\u200d🔬.csv", "👩\u200d🔬.csv"),
        ("표\u3000하나.csv", "표\u3000하나.csv"),
    ],
)
def test_canonical(given: str, relative: str) -> None:
    assert workspace_path(given) == relative


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "/work",
        "..",
        "../etc/passwd",
        "/etc/passwd",
        "a/../../b",
        "/work/../etc",
        "../../x",
        "a\0b",
        "a\nb",
        "a\x1b[31mb",
        "a\x85b",
        "a\u2028b",
        "caf\udce9.csv",
    ],
)
def test_leads_elsewhere(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        workspace_path(path)


def test_too_long() -> None:
    with pytest.raises(ValueError, match="too long"):
        workspace_path("x" * 300)
