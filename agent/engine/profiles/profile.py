"""What the framework must know about a model family. One small file a family; quirks carry their link."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from fastslow.agent.modes import ModeRule


@dataclass(frozen=True, slots=True)
class Sampling:
    """All values are sent: a server fills what is missing from the model's generation_config.json."""

    temperature: float
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0


@dataclass(frozen=True, slots=True)
class Profile:
    """A family's facts, as data.

    name: the family. pattern: regular expression searched (case-insensitively) in the served model id.
    switch: how a turn's mode is set: `"kwarg"` of the family's own chat template, `"template"` of one
        that we ship (`chat_template`, a file beside the profile, same kwarg), or `"none"`: cannot switch.
    kwarg: name of the boolean in `chat_template_kwargs`. thinks_by_default: the mode when it is not sent.
    tags: what opens and closes thinking. opens_in_prompt: the opening tag is in the prompt, never generated.
    reasoning_parser, tool_parser: names of vLLM's parsers. dialect: the family's own call syntax for
        `recover_calls` (a vLLM tool parser's name).
    fast, think: sampling per mode.
    answer_tokens: room for the visible part of a turn, beside the thinking budget.
    rules: how much a turn thinks, where that is not as by default (see `fastslow.agent.modes`).
    block: tags around a turn's calls, for families that write each as an object of JSON. Where they are said, one
        token tells how sure the model is of a tool, which decides the first turn of a run whose tools are no code; and
        of calls that must be made there may be several, one a line.
    replay: whether a turn's reasoning is sent back while the same tool loop goes on.
    renders_calls: the template shows a turn's tool calls; where not, they are written into its content.
    code: `"json"`: code is an argument of the `python` call; `"fenced"`: it is a fenced block in the content,
        for small models that write good code and bad JSON strings.
    strategy: what decides the turns of a run: `"free"` for models that can carry a task, `"guided"` for very small ones
        (`fastslow.agent.strategy`).
    edit: how files are changed: `"replace"` by parts, `"whole"` for models that do better with whole files.
    switch_keeps_prefix: changing mode keeps the earlier prompt byte-identical.
    server_flags: extra arguments for the managed server. links: where the quirks are told.
    notice: shown to the user when this profile is chosen.
    """

    name: str
    pattern: str
    fast: Sampling
    think: Sampling
    reasoning_parser: str
    tool_parser: str
    switch: Literal["kwarg", "template", "none"] = "kwarg"
    kwarg: str = "enable_thinking"
    thinks_by_default: bool = True
    chat_template: str | None = None
    tags: tuple[str, str] = ("<think>", "</think>")
    opens_in_prompt: bool = False
    dialect: str = "hermes"
    answer_tokens: int = 4096
    rules: tuple[ModeRule, ...] = ()
    block: tuple[str, str] | None = None
    replay: bool = False
    renders_calls: bool = True
    code: Literal["json", "fenced"] = "json"
    strategy: Literal["free", "guided"] = "free"
    edit: Literal["replace", "whole"] = "replace"
    switch_keeps_prefix: bool = True
    extra_kwargs: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    server_flags: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    notice: str = ""

    @property
    def template(self) -> Path | None:
        """The chat template that we ship for this family, for the server's `--chat-template`."""
        return Path(__file__).with_name(self.chat_template) if self.chat_template else None

    def matches(self, model: str) -> bool:
        return re.search(self.pattern, model, re.IGNORECASE) is not None
