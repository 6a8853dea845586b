"""fastslow: agents on hybrid-reasoning open models that think slowly to plan and act fast to call tools.

    from fastslow import Agent

    print(Agent().run_sync("Which region sold most?", files=["orders.csv"]).answer)

What stands here is public. The code lies in `fastslow.agent`, `fastslow.tools` and `fastslow.sandbox`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastslow.agent.public import *  # noqa: F403 - it has `__all__`
else:

    def __getattr__(name: str) -> Any:
        """The public names are imported when the first one is used: what needs none of them begins at once."""
        from fastslow.agent import public

        if name != "__all__" and name not in public.__all__:
            raise AttributeError(f"module 'fastslow' has no attribute {name!r}")
        return getattr(public, name)

    def __dir__() -> list[str]:
        from fastslow.agent import public

        return sorted(public.__all__)
