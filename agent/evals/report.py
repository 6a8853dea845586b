"""What the rows of an evaluation say: a table, a page, and a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from fastslow.agent.evals.rows import Row, Share, Summary, grouped, paired, summed

HEAD = (
    "",
    "right",
    "95 % interval",
    "turns",
    "thinking tokens",
    "answer tokens",
    "tokens a tool turn",
    "calls valid",
    "prompt cached",
    "seconds",
)
_ROW, _LEFT, _WIDE = 34, 190, 760  # pixels of the picture


def summaries(rows: Sequence[Row]) -> list[Summary]:
    """One of each arm, in the order in which they came."""
    return [summed(name, members) for name, members in grouped(rows, "arm").items()]


def line(one: Summary) -> list[str]:
    """A summary as the cells of a table's line, under `HEAD`."""
    low, high = one.success.interval
    return [
        one.name,
        f"{one.success.right} of {one.success.of}",
        f"{low:.0%} to {high:.0%}",
        f"{one.turns:.1f}",
        f"{one.thinking:.0f}",
        f"{one.answer:.0f}",
        f"{one.tool_tokens:.0f}" if one.tool_tokens else "-",
        _percent(one.valid),
        _percent(one.cached),
        f"{one.seconds:.1f}",
    ]


def page(rows: Sequence[Row], command: str) -> str:
    """All of it as Markdown: one table of the arms, and one of the arms by group."""
    first = rows[0]
    cases = len({row.case for row in rows})
    parts = [
        f"# {first.suite}: {cases} cases, seed {first.seed}\n\n",
        f"Model: {first.model}. Made by `{command}`. Tokens, turns and seconds are means of a run; tokens of a tool "
        "turn are those that the model generates in a turn that calls a tool, thinking included.\n\n",
        markdown([HEAD, *map(line, summaries(rows))]),
        "\n![success with its interval](report.svg)\n\n## By group\n\n",
        markdown(_by_group(rows)),
        *_case_by_case(rows),
    ]
    return "".join(parts)


def _case_by_case(rows: Sequence[Row]) -> list[str]:
    """The other arms beside the first, each on the cases that both ran."""
    (name, first), *others = grouped(rows, "arm").items()
    if not others:
        return []
    head = (f"beside {name}", "cases", f"only {name} right", "only this right", "by chance in")
    lines: list[Sequence[str]] = [(*head, "tokens", "tokens a tool turn", "seconds")]
    for other, members in others:
        pairs = paired(first, members)
        one, two = pairs.one, pairs.other
        times = (
            (two.thinking + two.answer, one.thinking + one.answer),
            (two.tool_tokens, one.tool_tokens),
            (two.seconds, one.seconds),
        )
        told = (f"{a / b:.1f} times" if a and b else "-" for a, b in times)
        chance = f"{pairs.p_value:.0%}" if pairs.p_value >= 0.005 else "under 1%"
        only = (str(pairs.only_one), str(pairs.only_other), chance)
        lines.append((other, str(one.success.of), *only, *told))
    return ["\n## Case by case\n\n", markdown(lines)]


def _by_group(rows: Sequence[Row]) -> list[Sequence[str]]:
    arms = list(grouped(rows, "arm"))
    lines: list[Sequence[str]] = [("", *arms)]
    for group, members in grouped(rows, "group").items():
        of = grouped(members, "arm")
        shares = [Share(sum(row.right for row in of.get(arm, [])), len(of.get(arm, []))) for arm in arms]
        lines.append((group, *(f"{share.right} of {share.of}" for share in shares)))
    return lines


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table; the first line is its head."""
    head, *body = lines
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ["---"] * len(head), *body))


def _percent(share: Share) -> str:
    return f"{share.share:.0%}" if share.of else "-"


def spent(one: Summary) -> str:
    """What a run took, for a picture."""
    return f"{one.seconds:.0f} s   {one.thinking + one.answer:.0f} tokens"


def picture(title: str, found: Sequence[Summary], told: Callable[[Summary], str] = spent) -> str:
    """Success of each arm as a bar, with its interval, and what is told of it beside it; SVG."""
    scale = _WIDE - _LEFT - 250
    height = 60 + _ROW * len(found)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDE}" height="{height}" font-family="sans-serif" '
        f'font-size="13"><rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="12" y="24" font-size="15" font-weight="bold">{escape(title)}</text>'
    ]
    for number, one in enumerate(found):
        y = 44 + _ROW * number
        low, high = (_LEFT + scale * bound for bound in one.success.interval)
        beside = f"{one.success.share:.0%}   {told(one)}"
        parts.append(
            f'<text x="{_LEFT - 10}" y="{y + 16}" text-anchor="end">{escape(one.name)}</text>'
            f'<rect x="{_LEFT}" y="{y}" width="{scale}" height="22" fill="#eee"/>'
            f'<rect x="{_LEFT}" y="{y}" width="{scale * one.success.share:.1f}" height="22" fill="#4878a8"/>'
            f'<path d="M{low:.1f} {y + 11}H{high:.1f}M{low:.1f} {y + 6}v10M{high:.1f} {y + 6}v10" stroke="#222"/>'
            f'<text x="{_LEFT + scale + 10}" y="{y + 16}">{beside}</text>'
        )
    return "".join([*parts, "</svg>\n"])
