import json
from typing import Any

import pytest

from fastslow.sandbox import DockerSession, DummySandbox, Execution, SandboxError, probe


@pytest.mark.docker
async def test_everything_holds(session: DockerSession) -> None:
    findings = await probe(session)
    assert len(findings) >= 100
    assert [finding for finding in findings if not finding.held] == []
    assert len({(finding.kind, finding.name) for finding in findings}) == len(findings)


@pytest.mark.parametrize(
    "said",
    ["", "[]", "{}", "[]x", "[[1, 2, 3, 4]]", '[["a", "b", 1, "c"]]', '[["a", "b", true]]', "9" * 5000, "[" * 9000],
)
async def test_findings_are_not_believed_before_they_are_checked(said: str) -> None:
    session = await DummySandbox([Execution("ok", stdout=said)]).session()
    with pytest.raises(SandboxError, match="no findings"):
        await probe(session)


async def test_checks_that_end_early_are_an_error() -> None:
    session = await DummySandbox([Execution("died", error="Killed")]).session()
    with pytest.raises(SandboxError, match="Killed"):
        await probe(session)


async def test_long_evidence_is_cut() -> None:
    row: list[Any] = ["k", "n", False, "x" * 5000]
    [finding] = await probe(await DummySandbox([Execution("ok", stdout=json.dumps([row]))]).session())
    assert (finding.held, len(finding.evidence)) == (False, 300)
