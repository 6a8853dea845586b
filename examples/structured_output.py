"""An answer of a fixed shape: a pydantic model in, an object of it out.

fastslow up
python examples/structured_output.py
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from fastslow import VLLM, Agent

LETTER = """Hello, I am Kim Minji. The keyboard of order 1207 came with two keys missing. I do not want my money
back, I want a replacement. It is for a course that starts on Monday, so it is urgent."""


class Ticket(BaseModel):
    """What the desk must know of a letter."""

    customer: str
    order: int = Field(ge=1000)
    wants: Literal["refund", "replacement", "information"]
    urgent: bool


result = Agent(engine=VLLM(), sandbox=None).run_sync(f"Make a ticket of this letter.\n\n{LETTER}", output=Ticket)
if result.output is None:  # the run did not end with an answer that fits
    raise SystemExit(result.reason)
print(result.output.model_dump_json(indent=2))
