"""An agent as another one's tool: a run within a run, with tools, a budget and an answer of its own.

fastslow up
python examples/sub_agent.py
"""

from __future__ import annotations

from pydantic import BaseModel

from fastslow import VLLM, Agent, Budget, tool

STOCK = {"keyboard": {"Seoul": 14, "Busan": 3}, "mouse": {"Seoul": 0, "Busan": 52}}


class Stock(BaseModel):
    warehouse: str
    pieces: int


@tool(effect="read")
def in_stock(product: str) -> dict[str, int]:
    """Count the pieces of a product in each warehouse.

    Args:
        product: What to count, as one English word in the singular.
    """
    return STOCK[product]


engine = VLLM()
clerk = Agent(engine=engine, tools=[in_stock], sandbox=None, budget=Budget(turns=10))
ask_clerk = clerk.as_tool("ask_clerk", "Find the warehouse that has the most of a product.", output=Stock)
boss = Agent(engine=engine, tools=[ask_clerk], sandbox=None)
result = boss.run_sync("From where do we send the next keyboard, and from where the next mouse?")
print(result.answer)
