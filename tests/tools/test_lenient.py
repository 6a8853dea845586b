"""The lenient reader by itself."""

from __future__ import annotations

import pytest

from fastslow.tools.lenient import LenientError, read_value, read_whole, without_surrogates


def test_reads_one_value_and_says_where_it_ends() -> None:
    assert read_value('x {"a": [1, "}"]} y', 1) == ({"a": [1, "}"]}, 17)
    assert read_value("[1, 2, 3]", 0, 9) == ([1, 2, 3], 9)


def test_looks_at_nothing_behind_the_end() -> None:
    text = '{"a": "b"</x>}'
    assert read_value(text, 0, 9, close=True) == ({"a": "b"}, 9)
    with pytest.raises(LenientError) as caught:
        read_value(text, 0, 9)
    assert (caught.value.cut, caught.value.position) == (True, 9)


@pytest.mark.parametrize(
    ("text", "cut", "position"),
    [
        ('{"a": 1', True, 7),
        ('{"a": tru', True, 9),
        ('{"a": -', True, 7),
        ('["a", ', True, 6),
        ('{"a": {"b": "c"', True, 15),
        ('{"a": x}', False, 6),
        ('{"a": 01}', False, 6),
        ('{"a": 1.5.2}', False, 6),
        ('{"a": "b" "c"}', False, 10),
        ("{} {}", False, 3),
    ],
)
def test_errors_say_where_and_whether_it_was_cut(text: str, cut: bool, position: int) -> None:
    with pytest.raises(LenientError) as caught:
        read_whole(text)
    assert (caught.value.cut, caught.value.position) == (cut, position)


def test_depth_is_limited_alike_in_good_and_bad_json() -> None:
    assert read_whole("[" * 65 + "]" * 65)
    for text in ("[" * 66 + "1" + "]" * 66, "[" * 66 + "1," + "]" * 66):
        with pytest.raises(LenientError, match="levels deep") as caught:
            read_whole(text)
        assert caught.value.deep


def test_one_key_with_two_values_is_refused() -> None:
    assert read_whole('{"a": 1, "a": 1}') == {"a": 1}
    for text in ('{"a": 1, "a": 2}', '{"a": 1, "a": true}', '{"a": [0], "a": [false]}'):
        with pytest.raises(LenientError, match="comes twice"):
            read_whole(text)


def test_lone_surrogates_are_replaced() -> None:
    assert without_surrogates("a\ud800b") == "a\ufffdb"
    assert without_surrogates("\ud83d\ude00") == "\U0001f600"
    assert read_whole('["\\ud83d\\ude00", "\\ude00"]') == ["\U0001f600", "\ufffd"]
    assert read_whole('{"\\ud800": 1}') == {"\ufffd": 1}
