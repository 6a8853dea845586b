"""The files that the steps of a flow change themselves: a ledger that each adds to, a table that one cleans in place.

To whoever looks at their content, such a step receives something else in the flow's next life, and its effect would be
repeated. So a step with an outside effect is known by the paths of its files, too: as long as these hold what the flow
itself left in them, it is the same step.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastslow.agent.events import Exit
from fastslow.agent.flow.keys import Received, file_told
from fastslow.agent.record.jobs import StepInfo, StepResult

FILES = "files"  # the kind of a step that holds what another one left in its files


@dataclass(frozen=True, slots=True)
class _Step:
    """One of an earlier life. began, ended: counted over the job; ended is infinite for one that was cut off. files: by
    path what it left, None where that is not known. wrote: those that it left other than it found them."""

    key: str
    paths: str
    began: int
    ended: float
    files: Mapping[str, Any]
    wrote: Sequence[str]


class LeftFiles:
    """known: the steps of the earlier lives."""

    def __init__(self, known: Sequence[StepInfo]) -> None:
        outputs = [step.result.output for step in known if step.result and step.result.failure == FILES]
        steps = [_Step(**{**output, "ended": output["ended"] or math.inf}) for output in outputs]
        self._by_key = {step.key: step for step in steps}
        self._by_paths: defaultdict[str, list[_Step]] = defaultdict(list)
        self._left: defaultdict[str, list[Any]] = defaultdict(list)  # by path, in earlier lives
        for step in steps:
            self._by_paths[step.paths].append(step)
            for path, told in step.files.items():
                self._left[path].append(told)
        self._moment = max((int(step.began if step.ended == math.inf else step.ended) for step in steps), default=0)
        self._written: dict[str, float] = {}  # by path, when the step began that wrote it last as this life goes
        self._began: dict[str, int] = {}  # of the steps under way

    def steps(self, received: Received) -> list[str]:
        """The keys of the earlier steps that received the same, but for what the flow itself has changed."""
        files = received.files.items()
        if not all(told in self._left[path] or None in self._left[path] for path, told in files):
            return []
        written = max((self._written.get(path, 0) for path in received.files), default=0)
        return [step.key for step in self._by_paths[received.paths] if step.ended > written]

    def taken(self, key: str) -> None:
        """This life has come to an earlier step."""
        if step := self._by_key.get(key):
            self._written.update({path: max(step.began, self._written.get(path, 0)) for path in step.wrote})

    def begun(self, key: str, received: Received) -> StepResult:
        """What the journal is to hold while a step goes on."""
        self._moment += 1
        self._began[key] = self._moment
        return _kept(_Step(key, received.paths, self._moment, 0, dict.fromkeys(received.files), ()))

    def ended(self, key: str, received: Received) -> StepResult:
        """What it is to hold from then on."""
        self._moment += 1
        now = {path: file_told(Path(path)) for path in received.files}
        wrote = [path for path, told in now.items() if told != received.files[path]]
        self._written.update(dict.fromkeys(wrote, math.inf))  # what this life has changed, no earlier step has seen
        return _kept(_Step(key, received.paths, self._began.pop(key, self._moment), self._moment, now, wrote))


def _kept(step: _Step) -> StepResult:
    return StepResult(f"{step.key}+", "", Exit.ANSWERED, asdict(step), failure=FILES)
