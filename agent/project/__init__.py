"""What a project says of itself to agents: AGENTS.md and skills, and whether the user trusts it.

All of it is text that others wrote. Until a person trusts it, it is not used; and then it is told to the model, and no
more: nothing in this room changes a rule on what may run (`agent/approval.py`).
"""

from __future__ import annotations

from fastslow.agent.project.instructions import Instructions, nested, read_instructions
from fastslow.agent.project.project import Project, project_of, tells_agents
from fastslow.agent.project.skills import Skill, Skills, catalogue, contents, find_skills, skill_tool
from fastslow.agent.project.trust import Trust

__all__ = [
    "Instructions",
    "Project",
    "Skill",
    "Skills",
    "Trust",
    "catalogue",
    "contents",
    "find_skills",
    "nested",
    "project_of",
    "read_instructions",
    "skill_tool",
    "tells_agents",
]
