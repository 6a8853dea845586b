"""A month's report of a small shop: three untidy files in, a page that is checked, and a mail once somebody says yes.

The model does what programs cannot: it reads why things came back, and writes two sentences. It adds nothing up.
"""

import re
import smtplib
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from email.message import EmailMessage
from pathlib import Path
from typing import Literal

from cleaning import Month, Return, clean
from page import clean_csv, page

from fastslow import StepFailed, Workflow

HERE = Path(__file__).parent
Why = Literal["broken", "wrong thing", "late", "not wanted", "unclear"]
READ = """Why did a customer send this back? Answer with one of
broken: it is damaged, or does not work
wrong thing: not what was ordered
late: it came too late
not wanted: nothing is wrong with it

What the customer wrote: {note}"""
WRITE = """Write a summary of a shop's month for its owner: two short sentences, no list, no number that is not below.

{figures}{said}"""


@dataclass(frozen=True)
class Report:
    """What came of it, in euros. sent: whom it was mailed to, `""` where nobody wanted that."""

    month: str
    net: Decimal
    page: Path
    sent: str


@dataclass(frozen=True)
class Summary:
    text: str


async def main(
    wf: Workflow,
    month: str,
    orders: Path = HERE / "in" / "orders.csv",
    customers: Path = HERE / "in" / "customers.csv",
    returns: Path = HERE / "in" / "returns.csv",
    to: str = "owner@shop.example",
    smtp: str = "127.0.0.1:8025",
) -> Report:
    """Report on a month of a shop, and mail the report once somebody has approved it.

    Args:
        month: Such as 2026-10.
        orders: Lines of orders: order, date, customer, product, quantity, price.
        customers: Where customers live: customer, region.
        returns: What came back: order, date, note.
        to: Who gets the report.
        smtp: HOST:PORT of the mail server.
    """
    cleaned = clean(month, orders, customers, returns)
    figures = {**totals(cleaned), **await reasons(wf, cleaned.returns)}
    summary = await summarized(wf, figures)
    html = wf.save("report.html", page(cleaned, figures, summary))
    rows = wf.save("clean.csv", clean_csv(cleaned))
    checked = await wf.check("python check_totals.py", [HERE / "check_totals.py", html, rows, orders])
    if not checked.ok:
        raise ValueError(f"the totals do not agree, so nothing is sent: {checked.output}")
    net = figures["net"]
    answer = await wf.ask(f"Mail the report of {month}, net {net:,.2f} EUR, to {to}?", about=html)
    if answer == "yes":
        await wf.step(send, html, month, to, smtp)
    return Report(month, net, html, to if answer == "yes" else "")


def totals(month: Month) -> dict[str, Decimal]:
    """What was sold by region, what came back, and what is left."""
    sold = defaultdict[str, Decimal](Decimal)
    for order in month.orders:
        sold[order.region] += order.amount
    gross = sum(sold.values(), Decimal(0))
    returned = sum((one.order.amount for one in month.returns), Decimal(0))
    regions = {f"sold in {region}": amount for region, amount in sorted(sold.items())}
    return {**regions, "sold": gross, "returned": returned, "net": gross - returned}


async def reasons(wf: Workflow, returns: tuple[Return, ...]) -> dict[str, Decimal]:
    """What came back by why it did."""

    async def why(note: str) -> str:
        return await wf.agent(READ.format(note=note), output=Why, builtin=(), think="never", name=f"why: {note}")

    found = defaultdict[str, Decimal](Decimal)
    answers = await wf.map(why, [one.note for one in returns])
    for one, answer in zip(returns, answers, strict=True):
        found["unclear" if isinstance(answer, StepFailed) else answer] += one.order.amount
    return {f"returned as {reason}": amount for reason, amount in sorted(found.items())}


async def summarized(wf: Workflow, figures: dict[str, Decimal]) -> str:
    """Two sentences of the model, if it keeps to the figures; else one of ours."""
    known = "\n".join(f"{name}: {amount:,.2f} EUR" for name, amount in figures.items())

    async def write(said: str | None) -> Summary:
        again = f"\n\nYour last summary was wrong: {said}" if said else ""
        task = WRITE.format(figures=known, said=again)
        return await wf.agent(task, output=Summary, builtin=(), think="never", name="summary")

    def judge(summary: Summary) -> tuple[bool, str]:
        wrong = [number for number in numbers(summary.text) if number not in numbers(known)]
        return not wrong, f"{', '.join(wrong)} is not among the figures"

    try:
        return (await wf.until(write, judge, tries=3)).text
    except StepFailed as failed:
        wf.log(f"The model's summary is left out: {failed}")
        return f"Net {figures['net']:,.2f} EUR."


def numbers(text: str) -> list[str]:
    return [found.replace(",", "").removesuffix(".00") for found in re.findall(r"\d[\d,]*(?:\.\d+)?", text)]


def send(html: Path, month: str, to: str, smtp: str) -> str:
    """Mail a page; returns the message's id. This has an effect outside, so the flow begins it once only."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "reports@shop.example", to, f"Report of {month}"
    message["Message-ID"] = f"<report-{month}@shop.example>"
    message.set_content(f"The report of {month} is attached.")
    message.add_attachment(html.read_bytes(), maintype="text", subtype="html", filename=html.name)
    host, _, port = smtp.rpartition(":")
    with smtplib.SMTP(host, int(port), timeout=30) as server:
        server.send_message(message)
    return message["Message-ID"]
