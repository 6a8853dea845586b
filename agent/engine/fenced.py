"""Code that a model wrote as a fenced block instead of as an argument of a call.

Small models write good code in a block and bad code in a JSON string; a profile with `code == "fenced"` takes
it from the block. Either way the loop sees a call of the `python` tool with the argument `code`.
"""

from __future__ import annotations

from fastslow.tools.fenced import first_block

CODE_TOOL = "python"
# Ends a turn behind its first block, before the model invents the block's output. The server leaves it
# out of the answer (`include_stop_str_in_output` would bring it, and the end-of-turn token too), so the fence
# is put back.
STOP = "\n```\n"
OPENING_FENCE = f"```{CODE_TOOL}\n"
CLOSING_FENCE = "\n```"


def stops_at_opening(text: str) -> bool:
    """Whether `STOP`, which ended this text, was a bare opening fence, which reads alike: no block came."""
    block = first_block(text + CLOSING_FENCE)
    return block is not None and not block.closed
