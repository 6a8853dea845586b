"""The public names: what `from fastslow import …` gives."""

from fastslow.agent.agent import Agent
from fastslow.agent.approval import Answer, Approval, ApprovalRule, Question
from fastslow.agent.budget import Budget, Prices, StepBudget
from fastslow.agent.changes import ChangeSet
from fastslow.agent.conversation import Conversation
from fastslow.agent.engine.client import VLLM
from fastslow.agent.engine.scripted import ReplayModel, ScriptedModel
from fastslow.agent.errors import (
    AgentError,
    ConfigurationError,
    JournalBroken,
    JournalError,
    RunBusy,
    RunFollowed,
    RunUnknown,
)
from fastslow.agent.events import (
    CallDisplay,
    CallFinished,
    CallOutput,
    CallStarted,
    CheckFinished,
    CheckStarted,
    Compacted,
    Consent,
    Event,
    Exit,
    ModeUsage,
    NetworkUsed,
    Notice,
    PlanMade,
    Result,
    RunFinished,
    RunResumed,
    RunStarted,
    StepFinished,
    StepStarted,
    TurnDelta,
    TurnFinished,
    TurnStarted,
)
from fastslow.agent.flow.memory import StepFailed
from fastslow.agent.flow.workflow import Workflow
from fastslow.agent.many import Task, run_many
from fastslow.agent.modes import Evidence, Kind, Mode, ModePolicy, ModeRule
from fastslow.agent.options import RunOptions
from fastslow.agent.plan import Plan, Step
from fastslow.agent.record.journal import Journal
from fastslow.agent.tree.changes import Change
from fastslow.agent.tree.tree import Tree
from fastslow.sandbox import DockerSandbox, DummySandbox, Limits, Network, SandboxError
from fastslow.tools import Outcome, Tool, Toolbox, ToolError, Toolset, tool

__all__ = [
    "VLLM",
    "Agent",
    "AgentError",
    "Answer",
    "Approval",
    "ApprovalRule",
    "Budget",
    "CallDisplay",
    "CallFinished",
    "CallOutput",
    "CallStarted",
    "Change",
    "ChangeSet",
    "CheckFinished",
    "CheckStarted",
    "Compacted",
    "ConfigurationError",
    "Consent",
    "Conversation",
    "DockerSandbox",
    "DummySandbox",
    "Event",
    "Evidence",
    "Exit",
    "Journal",
    "JournalBroken",
    "JournalError",
    "Kind",
    "Limits",
    "Mode",
    "ModePolicy",
    "ModeRule",
    "ModeUsage",
    "Network",
    "NetworkUsed",
    "Notice",
    "Outcome",
    "Plan",
    "PlanMade",
    "Prices",
    "Question",
    "ReplayModel",
    "Result",
    "RunBusy",
    "RunFinished",
    "RunFollowed",
    "RunOptions",
    "RunResumed",
    "RunStarted",
    "RunUnknown",
    "SandboxError",
    "ScriptedModel",
    "Step",
    "StepBudget",
    "StepFailed",
    "StepFinished",
    "StepStarted",
    "Task",
    "Tool",
    "ToolError",
    "Toolbox",
    "Toolset",
    "Tree",
    "TurnDelta",
    "TurnFinished",
    "TurnStarted",
    "Workflow",
    "run_many",
    "tool",
]
