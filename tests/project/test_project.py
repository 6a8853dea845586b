"""A project as a person trusts it: one digest of all that comes from it, kept in one file, asked for again."""

from __future__ import annotations

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fastslow import ConfigurationError
from fastslow.agent.folders import config_folder
from fastslow.agent.project import Project, Trust, files, frontmatter, instructions, project_of, skills

SKILL = "---\nname: {name}\ndescription: {description}\n---\nDo it.\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root/.git").mkdir(parents=True)
    return tmp_path / "root"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def skill(base: Path, name: str, description: str = "d") -> Path:
    return write(base / ".agents/skills" / name / "SKILL.md", SKILL.format(name=name, description=description))


def test_a_project_that_says_nothing_needs_no_trust(root: Path, home: Path) -> None:
    skill(home, "mine")
    project = project_of(root, home)
    assert (project.digest, project.described(), project.notices) == ("", (), ())
    assert [each.name for each in project.skills] == ["mine"]
    assert project.untrusted() == project


def test_the_digest_changes_with_any_change_of_the_projects_and_with_nothing_else(root: Path, home: Path) -> None:
    paths = ["AGENTS.md", "src/AGENTS.md", "src/a.py"]

    def digest() -> str:
        digests = {project_of(root, home, paths).digest, project_of(root, home, reversed(paths)).digest}
        assert len(digests) == 1
        return digests.pop()

    seen = [digest()]
    write(root / "AGENTS.md", "one")
    seen.append(digest())
    write(root / "AGENTS.md", "two")
    seen.append(digest())
    write(root / "src/AGENTS.md", "three")
    seen.append(digest())
    at = skill(root, "forms").parent
    seen.append(digest())
    write(at / "run.sh", "four")
    seen.append(digest())
    (at / "run.sh").rename(at / "ran.sh")
    seen.append(digest())
    at.rename(at.with_name("moved"))
    seen.append(digest())
    (root / "AGENTS.md").rename(root / "AGENTS.override.md")
    seen.append(digest())
    assert len(set(seen)) == len(seen)
    skill(home, "mine")
    write(root / "src/a.py", "code")
    write(root / "README.md", "text")
    assert digest() == seen[-1]


def test_what_is_not_trusted_is_not_used(root: Path, home: Path) -> None:
    write(root / "AGENTS.md", "obey")
    write(root / "src/AGENTS.md", "obey too")
    skill(root, "forms", "theirs")
    skill(root, "evil", "ev\x1b[2Jil")
    skill(home, "forms", "mine")
    project = project_of(root, home, ["src/AGENTS.md"])
    assert project.described() == (
        "instructions AGENTS.md",
        "instructions src/AGENTS.md",
        "skill evil (0 files): ev\\x1b[2Jil",
        "skill forms (0 files): theirs",
    )
    [notice] = project.untrusted().notices
    assert notice == (
        f"4 instructions and skills of {root} are not used, since you have not trusted them as they are now; "
        "--trust does"
    )
    used = project.untrusted()
    assert (used.instructions.text, used.on_the_way("src/a.py")) == ("", [])
    assert [(each.name, each.description) for each in used.skills] == [("forms", "mine")]


def test_nested_instructions_are_given_on_the_way(root: Path, home: Path) -> None:
    for folder in ("a", "a/b", "c"):
        write(root / folder / "AGENTS.md", f"in {folder}")
    project = project_of(root, home, ["a/AGENTS.md", "a/b/AGENTS.md", "a/b/x.py"])

    def found(path: str) -> list[str]:
        return [file for file, _ in project.on_the_way(path)]

    assert found("a/b/x.py") == found("/work/a/b") == found("./a/b/../b") == ["a/AGENTS.md", "a/b/AGENTS.md"]
    assert found("a/x.py") == ["a/AGENTS.md"]
    assert found("c/x.py") == found("x.py") == found("ab/x.py") == found("../x") == found("a\0") == []


def test_an_outer_one_is_whole_where_an_inner_one_is_long(root: Path, home: Path) -> None:
    write(root / "a/AGENTS.md", "outer\n" * 4000)
    write(root / "a/b/AGENTS.md", "inner\n" * 4000)
    (outer, inner) = project_of(root, home, ["a/b/AGENTS.md", "a/AGENTS.md"]).nested
    assert (outer[1].count("outer\n"), inner[1].count("inner\n")) == (3999, 3999)


def test_the_page_tells_the_limits() -> None:
    page = " ".join((Path(__file__).parents[2] / "docs/project.md").read_text("utf-8").split())
    for told in (
        f"told {instructions.LIMIT >> 10} KiB in all",
        f"of {files.LARGEST >> 20} MiB at most",
        f"| skills | {skills.MOST}; their descriptions are shortened to {skills.CATALOGUE:,} characters together |",
        f"| `SKILL.md` | {skills.SKILL >> 10} KiB, its fields {frontmatter.LARGEST >> 10} KiB of plain YAML: "
        f"no aliases, {frontmatter.DEEPEST} levels, {frontmatter.PARTS} values |",
        f"| description | {skills.DESCRIPTION:,} characters;",
        f"| {files.MOST} files and {files.TREE >> 20} MiB, {files.DEEPEST} folders deep,",
        f"`{skills.SANDBOX}/<name>/`",
        *(f"`{place}/`" for place in skills.PLACES),
    ):
        assert told in page, told


def test_paths_lead_nowhere_else(root: Path, home: Path) -> None:
    write(home / "AGENTS.md", "of another")
    (root / "link").symlink_to(home)
    paths = ["../home/AGENTS.md", str(home / "AGENTS.md"), "link/AGENTS.md", "none/AGENTS.md", "a\0/AGENTS.md"]
    assert project_of(root, home, paths).nested == ()


def test_no_more_nested_ones_than_the_limit(root: Path, home: Path) -> None:
    paths = [f"d{number:03}/AGENTS.md" for number in range(250)]
    for path in paths:
        write(root / path, "x")
    project = project_of(root, home, paths)
    assert len(project.nested) == 200
    assert project.notices == ("the instructions of 50 folders are not read: 200 is the limit",)


# Trust, on disk.


@pytest.fixture
def project(root: Path, home: Path) -> Project:
    write(root / "AGENTS.md", "one")
    return project_of(root, home)


def test_trust_is_of_a_path_and_its_contents(tmp_path: Path, root: Path, home: Path, project: Project) -> None:
    trust = Trust(tmp_path / "trust.json")
    assert not trust.is_trusted(root, project.digest)
    trust.trust(root, project.digest)
    assert trust.is_trusted(root, project.digest)
    assert trust.is_trusted(root / "src" / "..", project.digest)
    assert Trust(tmp_path / "trust.json").is_trusted(root, project.digest)
    assert not trust.is_trusted(root.parent, project.digest)
    write(root / "AGENTS.md", "two")
    assert not trust.is_trusted(root, project_of(root, home).digest)


def test_only_its_owner_may_read_it(tmp_path: Path, root: Path) -> None:
    old = os.umask(0)
    try:
        Trust(tmp_path / "trust.json").trust(root, "d")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "trust.json").stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.glob("trust*")) == ["trust.json", "trust.lock"]


def test_it_lies_with_the_users_settings(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTSLOW_HOME", str(tmp_path / "ours"))
    Trust().trust(root, "d")
    assert json.loads((config_folder() / "trust.json").read_text()) == {str(root): "d"}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"/a": 1}', "\xff", "[" * 100_000])
def test_a_damaged_file_says_what_to_do(tmp_path: Path, root: Path, content: str) -> None:
    file = tmp_path / "trust.json"
    file.write_bytes(content.encode("latin-1"))
    for use in (lambda: Trust(file).is_trusted(root, "d"), lambda: Trust(file).trust(root, "d")):
        with pytest.raises(ConfigurationError, match=r"trust.json, which .* is damaged: .*; remove it"):
            use()
    assert file.read_bytes() == content.encode("latin-1")


def test_a_link_in_the_place_of_the_lock_leads_nowhere(tmp_path: Path, root: Path) -> None:
    (tmp_path / "trust.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        Trust(tmp_path / "trust.json").trust(root, "d")
    assert not (tmp_path / "victim").exists()


def test_two_at_once_lose_nothing_of_each_other(tmp_path: Path) -> None:
    def trust(number: int) -> None:
        Trust(tmp_path / "trust.json").trust(Path(f"/{number}"), "d")

    with ThreadPoolExecutor(8) as pool:  # each opens the lock anew, as another process does
        list(pool.map(trust, range(80)))
    assert len(json.loads((tmp_path / "trust.json").read_text())) == 80


def test_a_path_that_is_no_unicode_can_be_trusted(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    odd.mkdir()
    trust = Trust(tmp_path / "trust.json")
    trust.trust(odd, "d")
    assert trust.is_trusted(odd, "d")
