"""A vLLM server in small that answers each row at once and in the same way: with the letters of its text, counted.

    python -m tests.flow.stub_server LOG [DELAY]

prints its address. A row whose text has `bad` in it gets an answer that fits no schema. LOG gets a line of JSON for
each row that was asked about.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.engine.fake_server import CHAT, Answer, FakeServer, Seen, said, serving

SCHEMA = {
    "type": "object",
    "properties": {"size": {"enum": ["short", "long"], "description": "of the text"}, "letters": {"type": "integer"}},
    "required": ["size", "letters"],
}


def expected(text: str) -> dict[str, Any]:
    return {"size": "long" if len(text) > 10 else "short", "letters": len(text)}


@dataclass
class RowServer(FakeServer):
    """Answers questions about `{text}`. broken: texts in which this stands get no valid answer; texts: asked about."""

    broken: str = "bad"
    delay: float = 0.0
    log: Path | None = None
    texts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def answer(self, seen: Seen) -> Answer:
        if seen.path != CHAT:
            return super().answer(seen)
        asked = next(message["content"] for message in seen.json["messages"] if message["role"] == "user")
        found = re.fullmatch(r"<text>\n(.*)\n</text>", asked, re.DOTALL)
        text = found[1] if found else ""
        self.texts.append(text)
        if self.log:
            with self.log.open("a") as file:
                file.write(json.dumps(text) + "\n")
        wrong, right = '{"size": "huge"}', json.dumps(expected(text))
        words = right if "response_format" in seen.json else f"{len(text)} letters"
        return replace(said(wrong if self.broken and self.broken in text else words), delay=self.delay)


async def _serve(server: RowServer) -> None:
    async with serving(server):
        print(server.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    log = Path(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1] else None
    asyncio.run(_serve(RowServer(log=log, delay=float(sys.argv[2]) if len(sys.argv) > 2 else 0.0)))
