"""Which files of a folder a run is given: what Git says, and hostile folders."""

from __future__ import annotations

import os
import random
import socket
import time
from pathlib import Path

import pytest

from fastslow import ConfigurationError
from fastslow.agent.tree.changes import FILE, LINK, PROGRAM
from fastslow.agent.tree.names import odd, refusal
from fastslow.agent.tree.rules import compiled
from fastslow.agent.tree.select import Entry, rules_of, select
from fastslow.agent.tree.tree import Tree
from fastslow.sandbox.paths import is_canonical
from tests.tree.helpers import git, write


def repository(root: Path, files: dict[str, str], *, add: bool = True) -> Path:
    write(root, {path: (FILE, text.encode()) for path, text in files.items()})
    git(root, "init", "-q")
    if add:
        git(root, "add", "-A")
    return root


def paths(root: Path, **settings: int) -> list[str]:
    return [entry.path for entry in select(Tree(root, **settings)).files]


def notices(root: Path) -> str:
    return "\n".join(select(Tree(root)).notices)


def test_modes_sizes_and_links(tmp_path: Path) -> None:
    write(tmp_path, {"b": (PROGRAM, b"12"), "a/c": (FILE, b""), "l": (LINK, b"a"), "out": (LINK, b"../../etc")})
    selection = select(Tree(tmp_path))
    assert selection.files == (
        Entry("a/c", FILE, 0),
        Entry("b", PROGRAM, 2),
        Entry("l", LINK, 1),
        Entry("out", LINK, 9),
    )
    assert (selection.root, selection.notices) == (tmp_path, ())


def test_what_git_tracks_or_would_track(tmp_path: Path) -> None:
    repository(tmp_path, {"a.py": "", "kept.log": "", "build/in": "", "build/deep/in": ""})
    write(tmp_path, {"new.py": (FILE, b""), "x.log": (FILE, b""), "build/out": (FILE, b""), "pkg/x/y.log": (FILE, b"")})
    (tmp_path / ".gitignore").write_text("*.log\nbuild/\n")
    assert paths(tmp_path) == [".gitignore", "a.py", "build/deep/in", "build/in", "kept.log", "new.py"]


def test_rules_of_the_users_own_and_of_folders_count(tmp_path: Path) -> None:
    repository(tmp_path, {"a/.gitignore": "!keep.log\n/top\n", ".gitignore": "*.log\n"}, add=False)
    (tmp_path / ".git/info/exclude").write_text("notes/\n")
    new = ["a/keep.log", "keep.log", "a/top", "a/b/top", "notes/x", "a/notes"]
    write(tmp_path, dict.fromkeys(new, (FILE, b"")))
    assert paths(tmp_path) == [".gitignore", "a/.gitignore", "a/b/top", "a/keep.log", "a/notes"]
    rules = select(Tree(tmp_path)).rules
    assert [path for path in (*new, "notes/new/deep", "a/new.log", "new.py") if rules.ignores(path)] == [
        *("keep.log", "a/top", "notes/x", "notes/new/deep", "a/new.log")
    ]


PARTS = [
    "a",
    "b",
    "ab",
    "*",
    "**",
    "?",
    "/",
    "\\",
    "!",
    "[ab]",
    "[!a]",
    "[a-",
    "]",
    ".",
    "#",
    "c",
    "x*",
    "a*b",
    " ",
    "[[:alpha:]]",
    "\\*",
]


@pytest.mark.parametrize("seed", range(40))
def test_rules_mean_what_they_mean_to_git(tmp_path: Path, seed: int) -> None:
    drawn = random.Random(seed)
    git(tmp_path, "init", "-q")
    for _ in range(25):
        path = tmp_path.joinpath(*drawn.choices(["a", "b", "ab", "c", "axb", "a b"], k=drawn.randint(1, 4)))
        if not path.exists() and not any(folder.is_file() for folder in path.parents):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    for folder in ("", "a", "b"):
        if (tmp_path / folder).is_dir():
            rules = ("".join(drawn.choices(PARTS, k=drawn.randint(1, 5))) for _ in range(drawn.randint(1, 4)))
            (tmp_path / folder / ".gitignore").write_text("\n".join(rules) + "\n")
    listed = git(tmp_path, "ls-files", "-co", "--exclude-standard", "-z").decode().split("\0")
    assert paths(tmp_path) == sorted(filter(None, listed))


def test_a_rule_cannot_take_for_ever() -> None:
    decide = compiled(b"*a*a*a*a*a*a*a*a*b\n/**/*a/**/*a*/**/*a*a*a/**/b")
    assert decide
    begun = time.process_time()
    assert decide(b"a" * 240, False) is None
    assert decide(b"/".join([b"a" * 9] * 90), False) is None
    assert time.process_time() - begun < 1


def test_rules_that_take_long_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastslow.agent.tree.rules.MOST_SECONDS", 0.2)
    (tmp_path / ".gitignore").write_text("\n".join(f"*a{n}*b*c" for n in range(5000)))
    for n in range(300):
        (tmp_path / f"a{n}{'x' * 100}").touch()
    begun = time.process_time()
    with pytest.raises(ConfigurationError, match=r"rules of the \.gitignore files"):
        select(Tree(tmp_path))
    assert time.process_time() - begun < 10
    rules = rules_of(tmp_path)
    assert not any(rules.ignores(f"new/{n}{'a' * 200}") for n in range(1000))
    assert rules.exhausted


def test_a_folder_within_a_repository(tmp_path: Path) -> None:
    repository(tmp_path, {".gitignore": "*.log\n/sub/out\n", "a": "", "sub/b": "", "sub/kept.log": ""})
    git(tmp_path, "add", "-f", "sub/kept.log")
    write(tmp_path, {"sub/out": (FILE, b""), "sub/x.log": (FILE, b""), "sub/new/c": (FILE, b"")})
    assert paths(tmp_path / "sub") == ["b", "kept.log", "new/c"]
    assert rules_of(tmp_path / "sub").ignores("out")


def test_a_folder_that_the_repository_above_ignores_stands_alone(tmp_path: Path) -> None:
    repository(tmp_path, {".gitignore": "*\n", "sub/a": "", "sub/.venv/b": ""}, add=False)
    assert paths(tmp_path / "sub") == ["a"]
    assert "ignores this folder" in notices(tmp_path / "sub")


def test_a_worktree_and_a_submodule_have_an_index_elsewhere(tmp_path: Path) -> None:
    main = repository(tmp_path / "main", {"a": "", "x.log": ""})
    git(main, "commit", "-qm", "one")
    (main / ".git/info/exclude").write_text("*.log\n")
    git(main, "worktree", "add", "-q", str(tmp_path / "tree"))
    (tmp_path / "tree/new.log").touch()
    assert paths(tmp_path / "tree") == ["a", "x.log"]
    inner = repository(tmp_path / "inner", {"c": ""})
    git(inner, "commit", "-qm", "one")
    git(main, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "sub")
    assert paths(main) == [".gitmodules", "a", "x.log"]
    assert "it is a submodule: sub" in notices(main)
    assert paths(main / "sub") == ["c"]


@pytest.mark.parametrize("version", ["2", "3", "4"])
def test_every_version_of_the_index_is_read(tmp_path: Path, version: str) -> None:
    repository(tmp_path, {"a/b.log": "", "a/bc.log": "", "c.log": ""})
    (tmp_path / ".gitignore").write_text("*.log\n")
    if version == "3":
        (tmp_path / "d.log").touch()
        git(tmp_path, "add", "-fN", "d.log")
    git(tmp_path, "update-index", "--index-version", version)
    assert paths(tmp_path)[:4] == [".gitignore", "a/b.log", "a/bc.log", "c.log"]


def test_a_repository_of_longer_digests(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--object-format=sha256")
    write(tmp_path, {"a.log": (FILE, b""), ".gitignore": (FILE, b"*.log\n")})
    git(tmp_path, "add", "-f", "a.log")
    assert paths(tmp_path) == [".gitignore", "a.log"]


def test_an_index_that_cannot_be_read_leaves_the_rules(tmp_path: Path) -> None:
    repository(tmp_path, {"a.log": "", "b": ""})
    (tmp_path / ".gitignore").write_text("*.log\n")
    index = tmp_path / ".git/index"
    whole = index.read_bytes()
    damages = [b"", b"x" * 50, whole[:-30], whole[:9] + b"\xff" + whole[10:], whole[:40] + b"z" + whole[41:]]
    for data in damages:
        index.write_bytes(data)
        assert paths(tmp_path) == [".gitignore", "b"]
        assert "index cannot be read (it is damaged)" in notices(tmp_path)
    index.write_bytes(whole)
    git(tmp_path, "update-index", "--split-index")
    assert "split in two" in notices(tmp_path)
    index.unlink()
    os.mkfifo(index)
    assert "cannot be opened" in notices(tmp_path)


def test_without_git_the_usual_is_ignored(tmp_path: Path) -> None:
    left = [".venv/a", "node_modules/b", "x/__pycache__/c.pyc", "dist/d", "build/e", ".tox/f", "m.pyc", ".DS_Store"]
    write(tmp_path, dict.fromkeys([*left, "a.py", "g.tmp", ".hidden"], (FILE, b"")))
    (tmp_path / ".gitignore").write_text("*.tmp\n")
    assert paths(tmp_path) == [".gitignore", ".hidden", "a.py"]


def test_caches_are_no_changes_in_a_repository_without_rules(tmp_path: Path) -> None:
    repository(tmp_path, {"a.py": "", "build/b": ""})
    rules = select(Tree(tmp_path)).rules
    assert rules.ignores("x/__pycache__/a.cpython-312.pyc")
    assert not rules.ignores("build/new")


def test_secrets_that_nobody_tracks_stay_out(tmp_path: Path) -> None:
    repository(tmp_path, {"tracked.pem": "", "a": ""})
    write(tmp_path, dict.fromkeys((".env", "k/id_rsa", "K.PEM", ".ssh/x", ".env.example", "env.py"), (FILE, b"")))
    assert paths(tmp_path) == [".env.example", "a", "env.py", "tracked.pem"]
    assert "left out, as each holds secrets, by its name: .env, .ssh, K.PEM, k/id_rsa" in notices(tmp_path)


def test_a_repository_within_is_left_out_and_told(tmp_path: Path) -> None:
    repository(tmp_path, {"a": ""})
    repository(tmp_path / "other", {"b": ""})
    assert paths(tmp_path) == ["a"]
    assert "it is a Git repository of its own: other/" in notices(tmp_path)


def test_what_is_no_file_or_has_no_name_is_left_out_and_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
    for name in (b"\xff\xfe", b"a\nb", b"\x1b[31m", b".GIT", b"ok", b"n" * 250):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"")
    with open(tmp_path / "large", "wb") as file:
        file.truncate((64 << 20) + 1)
    assert paths(tmp_path) == ["ok"]
    told = notices(tmp_path)
    assert "no regular file: pipe, socket" in told
    assert "\\x1b[31m" in told
    assert "\x1b" not in told
    assert "larger than 64 MiB: large" in told


def test_links_are_never_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    write(outside, {"secret": (FILE, b"1")})
    root = tmp_path / "root"
    write(root, {"folder": (LINK, os.fsencode(outside)), ".gitignore": (LINK, os.fsencode(outside / "secret"))})
    write(root, {"self": (LINK, b".")})
    assert [(entry.path, entry.mode) for entry in select(Tree(root)).files] == [
        (".gitignore", LINK),
        ("folder", LINK),
        ("self", LINK),
    ]


def test_names_that_differ_in_case_are_told(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": (FILE, b""), "A.py": (FILE, b"")})
    assert paths(tmp_path) == ["A.py", "a.py"]
    assert "A.py and a.py" in notices(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_files_are_told(tmp_path: Path) -> None:
    write(tmp_path, {"a": (FILE, b""), "d/b": (FILE, b"")})
    (tmp_path / "a").chmod(0)
    (tmp_path / "d").chmod(0)
    assert paths(tmp_path) == []
    assert "a" in notices(tmp_path)
    (tmp_path / "d").chmod(0o755)


def test_too_much_is_told_with_what_is_large(tmp_path: Path) -> None:
    write(tmp_path, {f"data/{n}": (FILE, b"x" * 1000) for n in range(20)} | {"a": (FILE, b"")})
    with pytest.raises(ConfigurationError, match=r"21 files .* limits are 10 files .*data/ \(20 files.*--dir"):
        paths(tmp_path, max_files=10)
    with pytest.raises(ConfigurationError, match="raise the limit"):
        paths(tmp_path, max_bytes=10_000)
    assert len(paths(tmp_path, max_files=21, max_bytes=20_000)) == 21


def test_far_too_many_files_are_given_up_early(tmp_path: Path) -> None:
    for folder in range(50):
        (tmp_path / str(folder)).mkdir()
        for n in range(40):
            (tmp_path / str(folder) / str(n)).touch()
    with pytest.raises(ConfigurationError, match=r"more than \d+ files") as error:
        paths(tmp_path, max_files=100)
    assert "2,000" not in str(error.value)


def test_ten_thousand_files_are_chosen_in_a_second(tmp_path: Path) -> None:
    for folder in range(100):
        (tmp_path / f"d{folder}").mkdir()
        for n in range(100):
            (tmp_path / f"d{folder}/{n}.py").touch()
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text("*.log\nbuild/\n/out/**/x\n")
    begun = time.process_time()
    assert len(paths(tmp_path)) == 10_001
    assert time.process_time() - begun < 1


@pytest.mark.parametrize("name", ["", "a" * 241, "é" * 120, "é" * 121, "a\n", "\udcff", "a b", "\u2028"])
def test_names_are_those_that_the_sandbox_takes(name: str) -> None:
    assert bool(name and not odd(name, name)) == (is_canonical(name) if name else False)


@pytest.mark.parametrize(
    "path",
    [
        "/a",
        "a//b",
        "../a",
        "a/../b",
        "./a",
        "",
        ".git/config",
        "a/.GIT/hooks/x",
        ".git ",
        "GIT~1/x",
        ".g\u200cit/x",
        "a\n",
    ],
)
def test_paths_that_nothing_is_written_to(path: str) -> None:
    assert refusal(path)


@pytest.mark.parametrize("path", [".gitignore", ".github/x", "git", "a/.gitkeep", "gitlab.py", "..a", "é/.é"])
def test_paths_that_are_like_others(path: str) -> None:
    assert not refusal(path)


def test_a_folder_of_gits_own_is_no_tree(tmp_path: Path) -> None:
    repository(tmp_path, {"a": ""})
    for folder in (".git", ".git/hooks"):
        with pytest.raises(ConfigurationError, match="Git's own"):
            select(Tree(tmp_path / folder))


def test_a_tree_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="is a file"):
        select(Tree(tmp_path / "file"))
    with pytest.raises(ConfigurationError, match="does not exist"):
        select(Tree(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match="max_files"):
        Tree(tmp_path, max_files=0)
    with pytest.raises(ConfigurationError, match="protect"):
        Tree(tmp_path, protect="tests/*")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="test is a command"):
        Tree(tmp_path, test=3)  # type: ignore[arg-type]
