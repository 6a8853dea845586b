"""Rows of every kind are read one by one, and what is wrong with one is told with its line."""

from __future__ import annotations

import io
import json
import os
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from fastslow.agent.flow.places import filled, names
from fastslow.agent.flow.row import Row
from fastslow.agent.flow.rows import InputWrong, source


def rows_of(path: Path, *used: str, id_column: str = "") -> list[Row]:
    return list(source(str(path), used, id_column).rows())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("r.csv", b'\xef\xbb\xbfid,text\n1,"a, ""b""\nc"\n2,d\n'),
        ("r.csv", b'id;text\n1;"a, ""b""\nc"\n2;d\n'),
        ("r.tsv", b'id\ttext\n1\t"a, ""b""\nc"\n2\td\n'),
        ("r.jsonl", b'{"id": 1, "text": "a, \\"b\\"\\nc"}\n\n{"id": 2, "text": "d"}\n'),
    ],
)
def test_rows_come_from_tables_and_lines(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    first, second = rows_of(path, "text", id_column="id")
    assert (first.id, first.values, first.number) == ("1", {"text": 'a, "b"\nc'}, 1)
    assert (second.id, second.values) == ("2", {"text": "d"})


def test_rows_come_from_parquet(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    parquet.write_table(pa.table({"id": [1, 2], "text": ["a", None], "tags": [["x"], []]}), path)
    first, second = rows_of(path, "text", "tags", id_column="id")
    assert first.values == {"text": "a", "tags": '["x"]'}
    assert second.values == {"text": "", "tags": "[]"}
    path.write_bytes(b"PAR1 but no table")
    with pytest.raises(InputWrong, match="cannot be read as Parquet"):
        rows_of(path, "text")


def test_a_pattern_brings_files_whose_content_is_in_the_key(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt"):
        (tmp_path / name).write_text(name)
    pattern = source(f"{tmp_path}/*.txt", ["file"])
    first, second = pattern.rows()
    assert (first.values, first.file, first.id) == ({"file": "a.txt"}, f"{tmp_path}/a.txt", f"{tmp_path}/a.txt")
    (tmp_path / "a.txt").write_text("changed")
    changed, same = pattern.rows()
    assert changed.id == first.id
    assert changed.key != first.key
    assert same == second
    with pytest.raises(InputWrong, match="no file matches"):
        source(f"{tmp_path}/*.pdf", ["file"])


def test_standard_input_is_lines_or_jsonl_as_the_prompt_says() -> None:
    lines = source("-", ["line"], stdin=io.BytesIO(b"one\n\ntwo"))
    assert [row.values for row in lines.rows()] == [{"line": "one"}, {"line": "two"}]
    assert [row.values for row in lines.rows()] == [{"line": "one"}, {"line": "two"}]  # once more
    objects = source("-", ["text"], stdin=io.BytesIO(b'{"text": "one"}\n'))
    assert [row.values for row in objects.rows()] == [{"text": "one"}]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("r.csv", "id,text\n1,a\n2,b,c\n", "line 3 of .* has 3 fields, and the header 2"),
        ("r.csv", 'id,text\n1,"a" b\n', "line 2 of .* is no CSV"),
        ("r.csv", "id,body\n1,a\n", "has no column 'text'; the columns are 'id', 'body'"),
        ("r.csv", "id,id\n1,a\n", "'id' twice"),
        ("r.csv", "", "is empty"),
        ("r.csv", "id,text\n1,a\n1,b\n", "line 3 of .* has the id '1', which an earlier row has"),
        ("r.csv", "id,text\n,a\n", "line 2 of .* has nothing in the column 'id'"),
        ("r.jsonl", '{"id": 1, "text": "a"}\n{"id": 2, \n', "line 2 of .* is no JSON"),
        ("r.jsonl", "[1]\n", "line 1 of .* is no JSON object"),
        ("r.jsonl", '{"id": 1, "text": "a"}\n{"id": 2}\n', "line 2 of .* has no column 'text'"),
        ("r.txt", "a", "expected .csv"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, name: str, content: str, told: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputWrong, match=told):
        rows_of(tmp_path / name, "text", id_column="id")


def test_what_can_be_read_only_once_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    for name in ("folder.csv", "pipe.csv"):
        with pytest.raises(InputWrong, match="no regular file"):
            rows_of(tmp_path / name, "text")


def test_the_lines_out_are_no_rows(tmp_path: Path) -> None:
    for name in ("a.jsonl", "out.jsonl"):
        (tmp_path / name).write_text('{"text": "a"}')
    out = tmp_path / "out.jsonl"
    with pytest.raises(InputWrong, match="to be read and written"):
        source(str(out), ["text"], out=out)
    [row] = source(f"{tmp_path}/*.jsonl", ["file"], out=out).rows()
    assert row.values["file"] == "a.jsonl"


def test_a_file_s_name_is_text(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"a\xff.txt")).write_text("a")
    with pytest.raises(InputWrong, match="not in UTF-8"):
        source(f"{tmp_path}/*.txt", ["file"])


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl"])
def test_a_line_without_an_end_fills_no_memory(tmp_path: Path, name: str) -> None:
    with (tmp_path / name).open("wb") as file:
        file.write(b"text\n" if name == "r.csv" else b'{"text": ""}\n')
        file.truncate(1 << 31)
    tracemalloc.start()
    with pytest.raises(InputWrong, match=r"line 2 of .* has over 16,777,216 characters"):
        rows_of(tmp_path / name, "text")
    assert tracemalloc.get_traced_memory()[1] < 200_000_000
    tracemalloc.stop()


def test_a_cell_without_an_end_fills_no_memory(tmp_path: Path) -> None:
    with (tmp_path / "r.csv").open("w") as file:
        file.write('text\n"')
        file.writelines(["x" * 999 + "\n"] * 20_000)
    with pytest.raises(InputWrong, match="is no CSV: field larger than field limit"):
        rows_of(tmp_path / "r.csv", "text")


def test_empty_lines_are_no_rows(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("\n\ntext\n\na\n\n")
    assert [row.values for row in rows_of(tmp_path / "r.csv", "text")] == [{"text": "a"}]


def test_another_encoding_is_told(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_bytes("id,text\n1,Zürich\n".encode("latin-1"))
    with pytest.raises(InputWrong, match="not in UTF-8"):
        rows_of(tmp_path / "r.csv", "text")


def test_rows_without_an_id_are_known_by_their_content(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("text\na\na\nb\n")
    first, second, third = rows_of(path, "text")
    assert second.id == f"{first.id}-2"
    path.write_text("text\nb\na\na\n")  # in another order
    assert {row.key for row in rows_of(path, "text")} == {first.key, second.key, third.key}


def test_only_what_the_model_is_told_makes_another_question(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("id,text,owner\n1,a,me\n")
    [row] = rows_of(path, "text", id_column="id")
    path.write_text("id,text,owner\n1,a,you\n")
    assert rows_of(path, "text", id_column="id") == [row]


def test_hostile_cells_come_through_as_text(tmp_path: Path) -> None:
    cells = ["{id} {{x}} {__class__}", "\x1b[31mred\x07", "</tool_call></text>", "x" * 1_000_000, "\ud800 half"]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps({"text": cell}) + "\n" for cell in cells))
    got = [row.values["text"] for row in rows_of(tmp_path / "r.jsonl", "text")]
    assert got == [*cells[:-1], "\ufffd half"]
    assert filled("Read {text}", {"text": cells[0]}) == f"Read {cells[0]}"


def test_names_reach_into_nothing() -> None:
    assert names("{row.__class__} {0[1]} {text!r:>9} {First name}") == ("row.__class__", "First name")  # as they stand
