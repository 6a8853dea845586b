"""Which files of a project are its tests: they are put back as they were given while a check runs."""

from __future__ import annotations

from functools import lru_cache

from dulwich.ignore import IgnoreFilter

# Of what Python, JavaScript, Go, Rust, Java and Ruby call a test, as lines of a .gitignore.
TESTS = (
    *("tests/", "test/", "__tests__/", "testing/", "spec/"),
    *("test_*.py", "*_test.py", "tests.py", "conftest.py"),
    *("*_test.go", "*.test.[jt]s", "*.test.[jt]sx", "*.spec.[jt]s", "*.spec.[jt]sx", "*Test.java", "*_spec.rb"),
)


def is_protected(path: str, globs: tuple[str, ...] | None) -> bool:
    """Whether a file is one of those. globs: as lines of a .gitignore; None for the usual names of tests."""
    return bool(_filter(TESTS if globs is None else globs).is_ignored(path))


@lru_cache(maxsize=16)
def _filter(globs: tuple[str, ...]) -> IgnoreFilter:
    return IgnoreFilter(glob.encode() for glob in globs)
