"""A run as it goes: which turns think, which act, and what each of them cost.

fastslow up && fastslow sandbox build
python examples/stream.py
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

from fastslow import VLLM, Agent, CallFinished, RunFinished, TurnDelta, TurnFinished, TurnStarted

ORDERS = Path(__file__).parent / "data_analysis" / "orders.csv"
DIM, PLAIN = "\033[2m", "\033[0m"


async def main() -> None:
    agent = Agent(engine=VLLM())
    async with aclosing(agent.stream("Which month had the most revenue?", files=[ORDERS])) as events:
        async for event in events:
            match event:
                case TurnStarted():
                    print(f"\n== turn {event.turn}: {event.mode.name}, because: {event.reason}")
                case TurnDelta():  # thoughts are dim, what the model says and the code that it writes are not
                    print(f"{DIM if event.kind == 'thinking' else PLAIN}{event.text}{PLAIN}", end="", flush=True)
                case TurnFinished():
                    used = event.reply.usage
                    print(f"\n   {used.thinking} tokens of thinking, {used.answer} of answer, {used.seconds:.1f} s")
                case CallFinished():
                    print(f"== {event.name}: {event.content}")
                case RunFinished():
                    print(f"\n{event.result.exit}: {event.result.answer}")
    await agent.aclose()


asyncio.run(main())
