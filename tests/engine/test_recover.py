"""Lost tool calls, found again: every syntax, every damage seen, and nothing that was cut off."""
# ruff: noqa: RUF001 - DeepSeek's tags are written with a fullwidth bar.

from __future__ import annotations

import json
from typing import Any

import pytest

from fastslow.agent.engine.profiles import PROFILES
from fastslow.agent.engine.recover import DIALECTS, LostCall, lost_calls, recover_calls

F = '{"name": "f", "arguments": {"a": 1}}'
G = '{"name": "g", "arguments": {}}'
ONE: list[tuple[str, Any]] = [("f", {"a": 1})]
BOTH: list[tuple[str, Any]] = [*ONE, ("g", {})]


def tagged(*calls: str) -> str:
    return "\n".join(f"<tool_call>\n{call}\n</tool_call>" for call in calls)


# Whole outputs as each family's chat template renders them.
NATIVE: dict[str, tuple[str, list[tuple[str, Any]]]] = {
    "hermes": (tagged(F, G), BOTH),
    "qwen3_json": (tagged(F, G), BOTH),
    "qwen3_coder": (
        "<tool_call>\n<function=f>\n<parameter=a>\nls\n  -l\n</parameter>\n"
        "<parameter=b>\n3\n</parameter>\n</function>\n</tool_call>\n"
        "<tool_call>\n<function=g>\n</function>\n</tool_call>",
        [("f", {"a": "ls\n  -l", "b": "3"}), ("g", {})],
    ),
    "seed_oss": (
        "<seed:tool_call>\n<function=f>\n<parameter=a>x</parameter>\n</function>\n</seed:tool_call>",
        [("f", {"a": "x"})],
    ),
    "glm45": (
        "<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>x</arg_value>\n</tool_call>\n<tool_call>g\n</tool_call>",
        [("f", {"a": "x"}), ("g", {})],
    ),
    "glm47": (
        "<tool_call>f<arg_key>a</arg_key><arg_value>x</arg_value>"
        "<arg_key>b</arg_key><arg_value>007</arg_value></tool_call>",
        [("f", {"a": "x", "b": "007"})],
    ),
    "apertus": ('<|tools_prefix|>[{"f": {"a": 1}}, {"g": {}}]<|tools_suffix|>', BOTH),
    "cohere_command3": (
        '<|START_ACTION|>[\n{"tool_call_id": "0", "tool_name": "f", "parameters": {"a": 1}},\n'
        '{"tool_call_id": "1", "tool_name": "g", "parameters": {}}\n]<|END_ACTION|>',
        BOTH,
    ),
    "internlm": ('<|action_start|><|plugin|>{"name": "f", "parameters": {"a": 1}}<|action_end|>', ONE),
    "gigachat3": ('function call<|role_sep|>\n{"name": "f", "arguments": {"a": 1}}', ONE),
    "minicpm5": (
        '<function name="f"><param name="a">x</param></function><function name="g"></function>',
        [("f", {"a": "x"}), ("g", {})],
    ),
    "muse_glimmer": (
        '<atem:function_calls>\n<atem:invoke name="f">\n<atem:parameter name="a">x</atem:parameter>\n'
        "</atem:invoke>\n</atem:function_calls>",
        [("f", {"a": "x"})],
    ),
    "step3": (
        '<｜tool_calls_begin｜><｜tool_call_begin｜>function<｜tool_sep｜><steptml:invoke name="f">'
        '<steptml:parameter name="a">x</steptml:parameter></steptml:invoke><｜tool_call_end｜><｜tool_calls_end｜>',
        [("f", {"a": "x"})],
    ),
    "dots": (
        '<dots_function_call>\n<invoke name="f">\n<parameter name="a">x</parameter>\n</invoke>\n</dots_function_call>',
        [("f", {"a": "x"})],
    ),
    "deepseek_v3": (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n"
        '```json\n{"a": 1}\n```<｜tool▁call▁end｜>\n'
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>g\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        BOTH,
    ),
    "deepseek_v31": (
        '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{"a": 1}<｜tool▁call▁end｜>'
        "<｜tool▁call▁begin｜>g<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        BOTH,
    ),
    "deepseek_v32": (
        '<｜DSML｜function_calls>\n<｜DSML｜invoke name="f">\n'
        '<｜DSML｜parameter name="s" string="true">杭州</｜DSML｜parameter>\n'
        '<｜DSML｜parameter name="n" string="false">5</｜DSML｜parameter>\n'
        "</｜DSML｜invoke>\n</｜DSML｜function_calls>",
        [("f", {"s": "杭州", "n": 5})],
    ),
    "kimi_k2": (
        "<|tool_calls_section_begin|>"
        '<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{"a": 1}<|tool_call_end|>'
        "<|tool_call_begin|>functions.g:1<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
        BOTH,
    ),
    "llama3_json": (
        '<|python_tag|>{"name": "f", "parameters": {"a": 1}}; {"name": "g", "parameters": {}}<|eom_id|>',
        BOTH,
    ),
    "llama4_json": ('{"type": "function", "name": "f", "parameters": {"a": 1}}', ONE),
    "pythonic": (
        "[f(a=1, b=\"x\"), g(c=[1, {'k': None}], d=True)]",
        [("f", {"a": 1, "b": "x"}), ("g", {"c": [1, {"k": None}], "d": True})],
    ),
    "lfm2": ("<|tool_call_start|>[f(a=1), g()]<|tool_call_end|>", BOTH),
    "olmo3": ("<function_calls>\nf(a=1)\ng()\n</function_calls>", BOTH),
    "mistral": ('[TOOL_CALLS]f[CALL_ID]x1[ARGS]{"a": 1}[TOOL_CALLS]g{}', BOTH),
    "minimax_m2": (
        '<minimax:tool_call><invoke name="f">\n<parameter name="city">New York</parameter>\n</invoke>'
        '<invoke name="g">\n</invoke></minimax:tool_call>',
        [("f", {"city": "New York"}), ("g", {})],
    ),
    "granite": (f"<|tool_call|> [{F}, {G}]", BOTH),
    "granite-20b-fc": (f"<function_call> {F}\n<function_call> {G}", BOTH),
    "longcat": (
        f"<longcat_tool_call>{F}</longcat_tool_call>\n<longcat_tool_call>{G}</longcat_tool_call>",
        BOTH,
    ),
    "jamba": (f"<tool_calls>[\n {F},\n {G}\n]</tool_calls>", BOTH),
    "phi4_mini_json": (f"functools[{F}, {G}]", BOTH),
    "xlam": (f"[{F}, {G}]", BOTH),
    "minimax": (f"<tool_calls>\n{F}\n{G}\n</tool_calls>", BOTH),
    "deepseek_v41": (
        '<｜DSML｜ calls>\n<｜DSML｜ invoke name="f">\n'
        '<｜DSML｜ parameter name="a" string="false">1</｜DSML｜ parameter>\n'
        '</｜DSML｜ invoke>\n<｜DSML｜ invoke name="g">\n</｜DSML｜ invoke>\n</｜DSML｜ calls>',
        BOTH,
    ),
    "gemma4": (
        '<|tool_call>call:f{a:1,s:<|"|>it said "go", {now}<|"|>,m:{k:[true,<|"|>x<|"|>]}}<tool_call|>'
        "<|tool_call>:g{}<tool_call|>",
        [("f", {"a": 1, "s": 'it said "go", {now}', "m": {"k": [True, "x"]}}), ("g", {})],
    ),
    "functiongemma": (
        "<start_function_call>call:f{a:<escape>New York<escape>,n:2}<end_function_call>",
        [("f", {"a": "New York", "n": 2})],
    ),
    "kimi_k3": (
        '<|open|>tools<|sep|><|open|>call tool="f" index="1"<|sep|>'
        '<|open|>argument key="s" type="string"<|sep|>007<|close|>argument<|sep|>'
        '<|open|>argument key="a" type="object"<|sep|>{"b": 1}<|close|>argument<|sep|><|close|>call<|sep|>'
        '<|open|>call tool="g" index="2"<|sep|><|close|>call<|sep|><|close|>tools<|sep|>',
        [("f", {"s": "007", "a": {"b": 1}}), ("g", {})],
    ),
    "minimax_m3": (
        ']<]minimax[>[<tool_call>\n]<]minimax[>[<invoke name="f">\n]<]minimax[>[<id>42]<]minimax[>[</id>\n'
        "]<]minimax[>[<items>]<]minimax[>[<item>]<]minimax[>[<sku>b-1]<]minimax[>[</sku>]<]minimax[>[</item>"
        "]<]minimax[>[</items>\n]<]minimax[>[</invoke>\n]<]minimax[>[</tool_call>",
        [("f", {"id": "42", "items": [{"sku": "b-1"}]})],
    ),
    "openai": ('<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}<|call|>', ONE),
    "inkling": (
        '<|message_model|><|content_invoke_tool_json|>{"name": "f", "args": {"a": 1}}<|end_message|>',
        ONE,
    ),
    "plamo3": (
        "<|plamo:begin_tool_requests:plamo|><|plamo:begin_tool_request:plamo|><|plamo:begin_tool_name:plamo|>f"
        "<|plamo:end_tool_name:plamo|><|plamo:begin_tool_arguments:plamo|><|plamo:constrain|>json<|plamo:msg|>"
        '{"a": 1}<|plamo:end_tool_arguments:plamo|><|plamo:end_tool_request:plamo|><|plamo:end_tool_requests:plamo|>',
        ONE,
    ),
    "hy_v3": (
        "<tool_calls>\n<tool_call>f<tool_sep>\n<arg_key>a</arg_key>\n<arg_value>x</arg_value>\n</tool_call>\n</tool_calls>",
        [("f", {"a": "x"})],
    ),
    "hy_v4": (
        "<tool_calls:6124c78e><tool_call:6124c78e>f<arg_key:6124c78e>a</arg_key:6124c78e><arg_value:6124c78e>x"
        "</arg_value:6124c78e></tool_call:6124c78e></tool_calls:6124c78e>",
        [("f", {"a": "x"})],
    ),
    "k2_horizon": (
        "<ifm|tool_calls>\n<ifm|tool_call>f\n<ifm|arg_key>a</ifm|arg_key><ifm|arg_type>string</ifm|arg_type>"
        f"<ifm|arg_value>x</ifm|arg_value>\n</ifm|tool_call>\n<ifm|tool_call>{G}</ifm|tool_call>\n</ifm|tool_calls>",
        [("f", {"a": "x"}), ("g", {})],
    ),
}


@pytest.mark.parametrize("dialect", NATIVE)
def test_native_syntax(dialect: str) -> None:
    text, calls = NATIVE[dialect]
    assert recover_calls(text, dialect) == ("", calls)
    assert recover_calls(f"Let me look.\n\n{text}\n", dialect) == ("Let me look.", calls)


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
@pytest.mark.parametrize("text", [tagged(F), f"```json\n{F}\n```", F, f"```\n[{F}]\n```", f"Now.\n{F}"])
def test_every_dialect_knows_tags_and_plain_json(dialect: str, text: str) -> None:
    assert recover_calls(text, dialect)[1] == ONE


def test_profiles_name_known_dialects() -> None:
    assert {profile.dialect for profile in PROFILES} <= DIALECTS.keys()


def test_unknown_dialect_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"hermes, .*qwen3_coder"):
        recover_calls("", "klingon")


@pytest.mark.parametrize(
    ("text", "content", "calls"),
    [
        (
            '<tool_call>{"name": "f", "arguments": {"a": "</tool_call>"}}</tool_call> b',
            "b",
            [("f", {"a": "</tool_call>"})],
        ),
        ('<tool_call>{"arguments": {"a": 1}, "name": "f"}</tool_call>', "", ONE),
        ('<tool_call>{"name": "f", "parameters": {"a": 1}}</tool_call>', "", ONE),
        (
            '<tool_call>{"type": "function", "function": {"name": "f", "arguments": "{\\"a\\": 1}"}}</tool_call>',
            "",
            ONE,
        ),
        ('{"tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{\\"a\\": 1}"}}]}', "", ONE),
        ('<tool_call>{"name": "f", "arguments": ""}</tool_call>', "", [("f", {})]),
        ('<tool_call>{"name": "f"}</tool_call>', "", [("f", {})]),
        ("<tool_call>{'name': 'f', 'arguments': {'a': 1,}}</tool_call>", "", ONE),
        ('<tool_call>{"name": "f", "arguments": "Seoul"}</tool_call>', "", [("f", "Seoul")]),
        ('<tool_call>{"name": "f", "arguments": Seoul}</tool_call>', "", [("f", "Seoul")]),
        ('<tool_call>{"name": "f", "arguments": 12}</tool_call>', "", [("f", 12)]),
        (f"{F}\n</tool_call>", "", ONE),
        (f"<tool_call>\n{F}", "", ONE),
        (f"<tool_call>{F}<|im_end|>", "", ONE),
        (f"<tool_call>{F[:-1]}</tool_call>", "", ONE),
        (f"<tool_call>{F[:-1]}", "", ONE),
        (f"<tool_call>{F}}}</tool_call>", "", ONE),
        (f"<tool_call>\n{F}\n{G}\n</tool_call>", "", BOTH),
        (f"<tool_call>```json\n{F}\n```</tool_call>", "", ONE),
        (f"a\n{tagged(F)}\nb\n{tagged(G)}\nc", "a\nb\nc", BOTH),
        (f"<think>I should {tagged(F)}", "<think>I should", ONE),
        (f"I should {tagged(F)}\n</think>", "I should\n</think>", ONE),
        ('<tool_call>{"name": "f", "arguments": {"a": "\\ud83d"}}</tool_call>', "", [("f", {"a": "\ufffd"})]),
        ("<function=f>\n<parameter=a>\nx\n</parameter>\n</function>\n</tool_call>", "", [("f", {"a": "x"})]),
        ("<tool_call><function=f><parameter=a>x</parameter></tool_call>", "", [("f", {"a": "x"})]),
        (
            '<tool_call>\n<function=f>\n<parameter=a>\nprint("</parameter>")\n</parameter>\n</function>\n</tool_call>',
            "",
            [("f", {"a": 'print("</parameter>")'})],
        ),
        ("f\n<arg_key>a</arg_key>\n<arg_value>x</arg_value>\n</tool_call>", "", [("f", {"a": "x"})]),
        ('<tool_call>{"name": "f", "args": {"a": 1}}</tool_call>', "", ONE),
        ('<tool_call>f\n{"a": 1}\n</tool_call>', "", ONE),
        ("<tool_call>f(a=1)</tool_call>", "", ONE),
        (f"<TOOLCALL>[{F}, {G}]</TOOLCALL>", "", BOTH),
        (f"<|tool_call_start|>[{F}, {G}]<|tool_call_end|>", "", BOTH),
        (f"```json\n{F[:-1]}\n```", "", ONE),
        ('<function="f">\n<parameter="a">\nx\n</parameter>\n</function>', "", [("f", {"a": "x"})]),
        ('functions.f:0<|tool_call_argument_begin|>{"a": 1}<|tool_call_end|>', "", ONE),
        ("<|tool_call_begin|>functions.g:0<|tool_call_argument_begin|><|tool_call_end|>", "", [("g", {})]),
        ("<｜tool▁call▁begin｜>g<｜tool▁sep｜><｜tool▁call▁end｜>", "", [("g", {})]),
        (
            '<｜DSML｜invoke name="f">'
            '<｜DSML｜parameter name="a" string="false">x</｜DSML｜parameter></｜DSML｜invoke>',
            "",
            [("f", {"a": "x"})],
        ),
    ],
)
def test_damage_that_has_one_reading(text: str, content: str, calls: list[tuple[str, Any]]) -> None:
    assert recover_calls(text, "hermes") == (content, calls)


@pytest.mark.parametrize(
    "bad",
    [
        '<tool_call>{"name": "x", "arguments": {"a": 1 oops}}</tool_call>',
        '<tool_call>{"name": "x", "arguments": {"a": "no end}}</tool_call>',
        '<tool_call>{"name": "x", "arguments": {"a": 1</tool_call>',
        '<tool_call>{"name": "x", "arguments": {"a": NaN}}</tool_call>',
        '<tool_call>{"name": "x", "arguments": "{\\"a\\": \\"rm"}</tool_call>',
        '<tool_call>{"name": "x", "arguments": {"a": 1, "a": 2}}</tool_call>',
        '<tool_call>{"name": 7, "arguments": {}}</tool_call>',
        '<tool_call>{"name": "x", "arguments": ' + '{"a": ' * 99 + "1" + "}" * 99 + "}</tool_call>",
        "<tool_call>\n<function=x>\n<parameter=a>\nno end",
        "<tool_call>x<arg_key>a</arg_key><arg_value>no end",
        "[TOOL_CALLS]x[ARGS]no json",
        "[x(1 + 1)]",
        "<tool_call></tool_call>",
        '<tool_call>{"name": "x", "city": "Seoul"}</tool_call>',
        '<tool_call>{"name": "x", "arguments": {"a": 1}, "parameters": {"a": 2}}</tool_call>',
        '<|tool_call>call:x{a:<|"|>no end}<tool_call|>',
        '<|open|>call tool="x" index="1"<|sep|><|open|>argument key="a" type="string"<|sep|>no end',
        ']<]minimax[>[<invoke name="x">]<]minimax[>[<a>no end',
    ],
)
def test_a_bad_call_costs_no_good_one(bad: str) -> None:
    for text in (f"{bad}\n{tagged(F)}", f"{tagged(F)}\n{bad}"):
        content, calls = recover_calls(text, "hermes")
        assert calls == ONE
        assert bad[:20] in content  # what is no call stays to be read


def test_a_cut_array_gives_its_whole_calls() -> None:
    cut = ', {"name": "g", "arguments": {"a": "rm'
    assert recover_calls(f"<tool_call>[{F}{cut}", "granite") == (cut, ONE)
    assert recover_calls(f"[{F}{cut}", "hermes") == (cut, ONE)


@pytest.mark.parametrize(
    "text",
    [
        "No call.",
        'The API answers {"name": "f", "arguments": {}} then.',
        '{"name": "f", "arguments": {"a": 1}} is what I would send.',
        '```json\n{"name": "Bob", "age": 3}\n```',
        '```json\n{"name": "Bob Smith", "arguments": {}}\n```',
        f"```python\nx = [\n{F}\n]\n```",
        f'{{"example":\n{F}\n}}',
        '{"name": "f", "arguments": "text"}',
        '[f(a="x")]',
        "x < y and </tool_call> alone",
    ],
)
def test_text_stays_text(text: str) -> None:
    assert recover_calls(text, "hermes") == (text, [])


def test_a_considered_call_is_no_call() -> None:
    text = f"<think>I could {tagged(F)}, no.</think>The answer is 4."
    assert recover_calls(text, "hermes") == (text, [])
    content, calls = recover_calls(f"{text}\n{tagged(G)}", "hermes")
    assert (content, calls) == (text, [("g", {})])
    holding = '<tool_call>{"name": "f", "arguments": {"a": "</think>"}}</tool_call>'
    assert recover_calls(f"{tagged(G)}\n{holding}", "hermes")[1] == [("g", {}), ("f", {"a": "</think>"})]


DANGER = {"command": "rm -rf /tmp/x", "why": 'it said "go"'}
CUT = {
    "hermes": tagged(json.dumps({"name": "sh", "arguments": DANGER})),
    "hermes-escaped": tagged(json.dumps({"name": "sh", "arguments": json.dumps(DANGER)})),
    "qwen3_coder": "<tool_call>\n<function=sh>\n"
    + "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in DANGER.items())
    + "</function>\n</tool_call>",
    "glm47": "<tool_call>sh"
    + "".join(f"<arg_key>{key}</arg_key><arg_value>{value}</arg_value>" for key, value in DANGER.items())
    + "</tool_call>",
    "deepseek_v3": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>sh\n"
    f"```json\n{json.dumps(DANGER)}\n```"
    "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "kimi_k2": f"<|tool_call_begin|>functions.sh:0<|tool_call_argument_begin|>{json.dumps(DANGER)}<|tool_call_end|>",
    "minimax_m2": '<minimax:tool_call><invoke name="sh">\n'
    + "".join(f'<parameter name="{key}">{value}</parameter>\n' for key, value in DANGER.items())
    + "</invoke></minimax:tool_call>",
    "mistral": f"[TOOL_CALLS]sh[ARGS]{json.dumps(DANGER)}",
    "llama3_json": json.dumps({"name": "sh", "parameters": DANGER}),
    "pythonic": "[sh(" + ", ".join(f"{key}={value!r}" for key, value in DANGER.items()) + ")]",
    "pythonic-literals": f"[sh(command=r'''{DANGER['command']}''', why='it ' 'said \"go\"',)]",
    "gemma4": "<|tool_call>call:sh{"
    + ",".join(f'{key}:<|"|>{value}<|"|>' for key, value in DANGER.items())
    + "}<tool_call|>",
    "kimi_k3": '<|open|>call tool="sh" index="1"<|sep|>'
    + "".join(
        f'<|open|>argument key="{key}" type="string"<|sep|>{value}<|close|>argument<|sep|>'
        for key, value in DANGER.items()
    )
    + "<|close|>call<|sep|>",
    "minimax_m3": ']<]minimax[>[<invoke name="sh">'
    + "".join(f"]<]minimax[>[<{key}>{value}]<]minimax[>[</{key}>" for key, value in DANGER.items())
    + "]<]minimax[>[</invoke>",
    "openai": f"<|channel|>commentary to=functions.sh <|constrain|>json<|message|>{json.dumps(DANGER)}<|call|>",
}


@pytest.mark.parametrize("case", CUT)
def test_half_a_call_is_never_returned(case: str) -> None:
    text, dialect = CUT[case], case.partition("-")[0]
    assert recover_calls(text, dialect)[1] == [("sh", DANGER)]
    for end in range(len(text)):
        content, calls = recover_calls(text[:end], dialect)
        assert calls in ([], [("sh", DANGER)]), text[:end]
        assert calls or content == text[:end]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"'x\x1by'", "x\x1by"),
        (r"r'\d+'", r"\d+"),
        (r"'\d+'", r"\d+"),
        ("'''x\ny'''", "x\ny"),
        ("'a' 'b'", "ab"),
        ("(1, [2, (3,)])", [1, [2, [3]]]),
        ("-.5", -0.5),
        ("1_000", 1000),
        ("{'k': ('x',)}", {"k": ["x"]}),
    ],
)
def test_what_only_python_writes(written: str, meant: Any) -> None:
    assert recover_calls(f"[f(a={written}, b=1), g()]", "pythonic")[1] == [("f", {"a": meant, "b": 1}), ("g", {})]


@pytest.mark.parametrize(
    "written", ["b'x'", "{1, 2}", "{1: 2}", "1j", "1e999", "f'x'", "1 + 1", "g()", "x", "[" * 99 + "]" * 99]
)
def test_what_json_has_not_is_no_argument(written: str) -> None:
    assert recover_calls(f"[f(a={written})]", "pythonic")[1] == []


def test_lines_of_python_are_calls_where_the_dialect_has_no_marker() -> None:
    assert recover_calls("<think>So.</think>\nf(a=1)\ng()\n", "olmo3") == ("<think>So.</think>", BOTH)
    for text in ("I call f(a=1)", "f(a=1)\nThat is all."):
        assert recover_calls(text, "olmo3") == (text, [])
    assert recover_calls("f(a=1)", "pythonic")[1] == []


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        (
            'So: <tool_call>{"name": "f", "arguments": {"a": oops}}</tool_call>',
            [LostCall("So:", 0, "f", '{"name": "f", "arguments": {"a": oops}}</tool_call>')],
        ),
        (
            '<tool_call>\n{"arguments": {"a": "x"}, "name": "f"',
            [LostCall("", 0, "f", '{"arguments": {"a": "x"}, "name": "f"')],
        ),
        (
            "<function=f>\n<parameter=a>\nno end",
            [LostCall("", 0, "f", "<function=f>\n<parameter=a>\nno end")],
        ),
        (
            f"So: {tagged(G)} <tool_call>\n{F[:-1]}{tagged(G)}<function=f>\n<parameter=a>",
            [
                LostCall("So:", 1, "f", F[:-1]),
                LostCall(f"So:\n<tool_call>\n{F[:-1]}", 2, "f", "<function=f>\n<parameter=a>"),
            ],
        ),
        (tagged(F), []),
        ("The tag <tool_call> begins a call.", []),
        (F, []),
        (f"```json\n{F}\n```", []),
        ("[f(a=1)]", []),
    ],
)
def test_a_call_that_cannot_be_read_is_told_apart_from_text(text: str, lost: list[LostCall]) -> None:
    assert lost_calls(text, "hermes") == lost
