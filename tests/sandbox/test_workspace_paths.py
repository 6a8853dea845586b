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
    ],
)
def test_leads_elsewhere(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        workspace_path(path)


def test_too_long() -> None:
    with pytest.raises(ValueError, match="too long"):
        workspace_path("x" * 300)
