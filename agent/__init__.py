"""fastslow: agents on hybrid-reasoning open models that think slowly to plan and act fast to call tools."""

from agent.agent import Agent
from agent.approval import Answer, Approval, Question, Rule
from agent.budget import Budget, Prices, StepBudget
from agent.engine.client import VLLM
from agent.engine.scripted import ReplayModel, ScriptedModel
from agent.errors import AgentError, ConfigurationError, JournalBroken, JournalError, RunBusy, RunUnknown
from agent.events import Event, Exit, Result
from agent.journal import Journal
from agent.many import Task, run_many
from agent.modes import Kind, Mode, ModePolicy, ModeRule
from agent.plan import Plan, Step

__all__ = [
    "VLLM",
    "Agent",
    "AgentError",
    "Answer",
    "Approval",
    "Budget",
    "ConfigurationError",
    "Event",
    "Exit",
    "Journal",
    "JournalBroken",
    "JournalError",
    "Kind",
    "Mode",
    "ModePolicy",
    "ModeRule",
    "Plan",
    "Prices",
    "Question",
    "ReplayModel",
    "Result",
    "Rule",
    "RunBusy",
    "RunUnknown",
    "ScriptedModel",
    "Step",
    "StepBudget",
    "Task",
    "run_many",
]
