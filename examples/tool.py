"""A tool is a function: its types become the schema, its docstring is what the model is told.

fastslow up
python examples/tool.py
"""

from __future__ import annotations

from typing import Literal

from fastslow import VLLM, Agent, tool

STOCK = {"Seoul": {"keyboard": 14, "mouse": 0}, "Busan": {"keyboard": 3, "mouse": 52}}


@tool(effect="read")  # it changes nothing, so nobody is asked, and after a crash it may run again
def in_stock(product: Literal["keyboard", "mouse"], warehouse: Literal["Seoul", "Busan"]) -> int:
    """Count how many pieces of a product lie in a warehouse.

    Args:
        product: What to count.
        warehouse: Where to look.
    """
    return STOCK[warehouse][product]


agent = Agent(engine=VLLM(), tools=[in_stock], sandbox=None)  # no sandbox: the model has your tools alone
result = agent.run_sync("How many keyboards are there in Busan?")
print(result.answer)
