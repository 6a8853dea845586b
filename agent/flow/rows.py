"""The rows of a map, read one after the other from where the user has them. Whatever is wrong is told with its line,
and before anything is asked: a map goes through all of them once first."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from glob import glob
from hashlib import file_digest, sha256
from pathlib import Path
from typing import IO, Any, AnyStr, TypeAlias

from fastslow.agent.errors import ConfigurationError
from fastslow.agent.flow.row import Row
from fastslow.tools.lenient import without_surrogates

LARGEST = 16 << 20  # characters of a line, and of a cell; a model reads less
SHOWN = 12  # names of columns in an error
DELIMITERS = ",;\t|"
SUFFIXES = ".csv, .tsv, .jsonl, .ndjson or .parquet"
LINE, FILE, NAME = "line", "file", "name"  # columns of what has none of its own

Record: TypeAlias = tuple[int, Mapping[str, str], str]
"""Where it stands (a line, or a number), its values, and the file that it brings."""


class InputWrong(ConfigurationError):
    """The rows cannot be read, or lack what the prompt names. The message says where."""


@dataclass(frozen=True, slots=True)
class Source:
    """Rows that can be gone through more than once. read: gives the records. used: columns that the prompt names.
    id_column: that tells rows apart; `""` takes a hash of all values, or the path of a file. files: each row is one."""

    name: str
    read: Callable[[], Iterator[Record]]
    used: tuple[str, ...]
    id_column: str = ""
    files: bool = False

    def rows(self) -> Iterator[Row]:
        """Raises InputWrong where a row cannot be read, lacks a column, or has the id of an earlier one."""
        seen: dict[bytes, int] = {}  # digests of ids: how often each came
        needed = (*self.used, *([self.id_column] if self.id_column else []))
        for number, (place, values, file) in enumerate(self.read(), 1):
            if missing := [name for name in needed if name not in values]:
                raise InputWrong(f"{self._at(place)} has no column {missing[0]!r}; {_columns(values)}")
            name = self._id(values, file)
            if not name:
                raise InputWrong(f"{self._at(place)} has nothing in the column {self.id_column!r} of --id")
            digest = sha256(name.encode()).digest()[:12]
            seen[digest] = seen.get(digest, 0) + 1
            if seen[digest] > 1 and self.id_column:
                raise InputWrong(
                    f"{self._at(place)} has the id {name!r:.80}, which an earlier row has: ids (--id {self.id_column}) "
                    "must differ"
                )
            if seen[digest] > 1:
                name = f"{name}-{seen[digest]}"
            told = {column: values[column] for column in self.used}
            yield Row(number, name, _key(name, told, file), told, file)

    def _id(self, values: Mapping[str, str], file: str) -> str:
        if self.id_column:
            return values[self.id_column]
        return file or sha256(json.dumps(values, ensure_ascii=False, sort_keys=True).encode()).hexdigest()[:16]

    def _at(self, place: int) -> str:
        return f"file {place} of {self.name}" if self.files else f"line {place} of {self.name}"


def source(
    where: str,
    used: Iterable[str],
    id_column: str = "",
    *,
    stdin: IO[bytes] | None = None,
    out: Path | None = None,
) -> Source:
    """The rows of a file, of files (a pattern such as `in/*.pdf`), or of standard input (`-`), which can be gone
    through once only and so is passed as a file (`stdin`) that it was put in. out: a file that is written
    meanwhile, and so is none of the rows. Raises InputWrong, OSError."""
    names, path = tuple(used), Path(where)
    reads: dict[str, Callable[[], Iterator[Record]]] = {
        ".csv": lambda: _csv(path, ","),
        ".tsv": lambda: _csv(path, "\t"),
        ".jsonl": lambda: _jsonl(_lines(where, path)),
        ".ndjson": lambda: _jsonl(_lines(where, path)),
        ".parquet": lambda: _parquet(path),
    }
    if where == "-":
        texts = set(names) <= {LINE} and not id_column
        read = (lambda: _texts(_spooled(stdin))) if texts else (lambda: _jsonl(_spooled(stdin)))
        return Source("standard input", read, names, id_column)
    if any(sign in where for sign in "*?[") and not path.exists():
        return _pattern(where, names, id_column, out)
    if path.suffix.lower() not in reads:
        raise InputWrong(f"expected {SUFFIXES}, a pattern of files such as 'in/*.pdf', or -, got {where!r}")
    if path.exists() and not path.is_file():
        raise InputWrong(f"{where} is no regular file, and rows are gone through twice; give a pipe as --input -")
    if _same(where, out):
        raise InputWrong(f"{where} is to be read and written; give another file for the lines")
    with open(path, "rb"):
        return Source(where, reads[path.suffix.lower()], names, id_column)


def _pattern(where: str, names: tuple[str, ...], id_column: str, out: Path | None) -> Source:
    found = sorted(each for each in glob(where, recursive=True) if Path(each).is_file() and not _same(each, out))
    if not found:
        raise InputWrong(f"no file matches the pattern {where!r}")
    if wrong := [each for each in found if without_surrogates(each) != each]:
        raise InputWrong(f"the name of the file {wrong[0]!r} is not in UTF-8; rename it")
    return Source(where, lambda: _files(found), names, id_column, files=True)


def _same(path: str, out: Path | None) -> bool:
    return out is not None and out.exists() and out.samefile(path)


def _key(name: str, told: Mapping[str, str], file: str) -> str:
    """Of all that the model is told of the row."""
    content = ""
    if file:
        with open(file, "rb") as opened:
            content = file_digest(opened, "sha256").hexdigest()
    return sha256(json.dumps([name, told, content], ensure_ascii=False, sort_keys=True).encode()).hexdigest()[:24]


def _columns(names: Iterable[str]) -> str:
    known = list(names)
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    return f"the columns are {', '.join(f'{name!r:.60}' for name in known[:SHOWN])}{more}"


def _csv(path: Path, delimiter: str) -> Iterator[Record]:
    csv.field_size_limit(LARGEST)
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(_whole(str(path), file), strict=True, delimiter=_delimiter(file, delimiter))
        try:
            header = [without_surrogates(name.strip()) for name in next(filter(None, reader), [])]
            _check_header(path, header)
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise InputWrong(
                        f"line {reader.line_num} of {path} has {len(cells)} fields, and the header {len(header)}; is a "
                        "quote or a delimiter missing?"
                    )
                yield reader.line_num, dict(zip(header, cells, strict=True)), ""
        except csv.Error as error:
            raise InputWrong(f"line {reader.line_num} of {path} is no CSV: {error}") from error
        except UnicodeDecodeError as error:
            raise InputWrong(f"{path} is not in UTF-8, behind line {reader.line_num}: {error.reason}") from error


def _delimiter(file: IO[str], usual: str) -> str:
    """The usual one, unless the header has none of it and another one that `csv.Sniffer` finds."""
    try:
        header = file.readline(10_000)
        found = usual if usual in header else csv.Sniffer().sniff(header, DELIMITERS).delimiter
    except (csv.Error, UnicodeDecodeError):
        found = usual
    file.seek(0)
    return found


def _check_header(path: Path, header: list[str]) -> None:
    if not header:
        raise InputWrong(f"{path} is empty: expected a line of column names, and rows")
    if twice := [name for name in header if header.count(name) > 1]:
        raise InputWrong(f"the header of {path} has the column {twice[0]!r} twice")


def _lines(name: str, path: Path) -> Iterator[tuple[str, int, bytes]]:
    with open(path, "rb") as file:
        for number, line in enumerate(_whole(name, file), 1):
            yield name, number, line


def _spooled(file: IO[bytes] | None) -> Iterator[tuple[str, int, bytes]]:
    if file is None:
        raise ValueError("standard input is to be put into a file first")
    file.seek(0)
    for number, line in enumerate(_whole("standard input", file), 1):
        yield "standard input", number, line


def _whole(name: str, file: IO[AnyStr]) -> Iterator[AnyStr]:
    """The lines of a file. InputWrong for one that would fill the memory."""
    number = 0
    while line := file.readline(LARGEST):
        number += 1
        if len(line) == LARGEST:
            raise InputWrong(f"line {number} of {name} has over {LARGEST:,} characters; is it no text?")
        yield line


def _decoded(name: str, number: int, line: bytes) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r\n")
    except UnicodeDecodeError as error:
        raise InputWrong(f"line {number} of {name} is not in UTF-8: {error.reason}") from error


def _texts(lines: Iterator[tuple[str, int, bytes]]) -> Iterator[Record]:
    for name, number, line in lines:
        if text := _decoded(name, number, line):
            yield number, {LINE: text}, ""


def _jsonl(lines: Iterator[tuple[str, int, bytes]]) -> Iterator[Record]:
    for name, number, line in lines:
        text = _decoded(name, number, line)
        if not text.strip():
            continue
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputWrong(f"line {number} of {name} is no JSON: {error}") from error
        if not isinstance(value, dict):
            raise InputWrong(f"line {number} of {name} is no JSON object: {text:.80}")
        yield number, {without_surrogates(key): _text(each) for key, each in value.items()}, ""


def _parquet(path: Path) -> Iterator[Record]:
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError as missing:
        raise InputWrong(f"{path} needs pyarrow to be read: pip install 'fastslow[parquet]'") from missing
    number = 0
    try:
        with closing(parquet.ParquetFile(path)) as file:
            for batch in file.iter_batches(batch_size=16):  # a page may hold the same long text often
                for value in batch.to_pylist():
                    number += 1
                    yield number, {str(key): _text(each) for key, each in value.items()}, ""
    except (ArrowException, OSError) as error:
        raise InputWrong(f"{path} cannot be read as Parquet, behind row {number}: {error}") from error


def _files(paths: list[str]) -> Iterator[Record]:
    for number, path in enumerate(paths, 1):
        yield number, {FILE: Path(path).name, NAME: Path(path).stem}, path


def _text(value: Any) -> str:
    """A value as the model reads it: text as it is, nothing for null, else JSON."""
    if value is None:
        return ""
    if not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False, default=str)
    return without_surrogates(value)
