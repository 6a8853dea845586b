"""Jobs in the journal: what a job holds of a step is found again, whoever looks."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastslow.agent.errors import RunBusy, RunUnknown
from fastslow.agent.events import Exit
from fastslow.agent.record.jobs import Jobs, StepResult
from fastslow.agent.record.journal import Journal


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(Journal(tmp_path / "runs.db"))


def test_the_same_key_is_the_same_job_with_what_it_did(jobs: Jobs) -> None:
    with jobs.open("map", "tickets", "k", {"prompt": "p"}) as job:
        job.end(StepResult("a", "1", Exit.ANSWERED, {"urgency": "high"}, turns=1, files=("x.png",)))
        job.finish(Exit.CANCELLED)
    with Jobs(Journal(jobs.journal.path)).open("map", "tickets", "k", {}) as again:
        assert again.id == job.id
        assert again.info.settings == {"prompt": "p"}
        assert again.names() == {"1": ("a", Exit.ANSWERED)}
        known = again.result("a")
        assert known == StepResult("a", "1", Exit.ANSWERED, {"urgency": "high"}, turns=1, files=("x.png",))
        assert again.result("b") is None


def test_a_step_that_was_cut_off_is_told_from_one_that_ended(jobs: Jobs) -> None:
    with jobs.open("flow", "report", "k", {}) as job:
        job.begin("a", "clean")
        job.begin("b", "mail", "a")
        job.end(StepResult("a", "clean", Exit.ANSWERED))
        assert job.begun("b")
        assert job.result("b") is None
        ended, cut_off = jobs.steps(job.id)
        assert (ended.name, ended.ended, cut_off.name, cut_off.parent, cut_off.ended) == ("clean", 1, "mail", "a", None)


def test_steps_come_in_the_order_in_which_they_ended(jobs: Jobs) -> None:
    with jobs.open("map", "m", "k", {}) as job:
        for key in "cab":
            job.end(StepResult(key, key, Exit.ANSWERED))
        assert [step.key for step in jobs.steps(job.id)] == ["c", "a", "b"]
        assert [step.key for step in jobs.steps(job.id, after=2)] == ["b"]
        job.forget(["a"])
        assert {key for key, _ in job.names().values()} == {"c", "b"}


def test_one_process_at_a_time_has_a_job(jobs: Jobs) -> None:
    with jobs.open("map", "m", "k", {}), pytest.raises(RunBusy), jobs.open("map", "m", "k", {}):
        pass


def test_a_job_is_found_by_the_beginning_of_its_id(jobs: Jobs) -> None:
    with jobs.open("flow", "m", "k", {}) as job:
        pass
    assert jobs.find(job.id[:-2], "flow") == jobs.find("last", "flow")
    with pytest.raises(RunUnknown):
        jobs.find("last", "map")
    jobs.remove(job.id)
    assert jobs.all() == ()
