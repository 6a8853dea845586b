import json
from typing import Any

import pytest

from fastslow.sandbox import DockerSession, DummySandbox, Execution, SandboxError, probe


@pytest.mark.docker
async def test_everything_holds(session: DockerSession) -> None:
    checks = await probe(session)
    assert len(checks) >= 100
    assert [check for check in checks if not check.held] == []
    assert len({(check.kind, check.name) for check in checks}) == len(checks)


@pytest.mark.parametrize(
    "said",
    ["", "[]", "{}", "[]x", "[[1, 2, 3, 4]]", '[["a", "b", 1, "c"]]', '[["a", "b", true]]', "9" * 5000, "[" * 9000],
)
async def test_checks_are_not_believed_before_they_are_checked(said: str) -> None:
    session = await DummySandbox([Execution("ok", stdout=said)]).session()
    with pytest.raises(SandboxError, match="reported nothing"):
        await probe(session)


async def test_checks_that_end_early_are_an_error() -> None:
    session = await DummySandbox([Execution("died", error="Killed")]).session()
    with pytest.raises(SandboxError, match="Killed"):
        await probe(session)


async def test_long_evidence_is_cut() -> None:
    row: list[Any] = ["k", "n", False, "x" * 5000]
    [check] = await probe(await DummySandbox([Execution("ok", stdout=json.dumps([row]))]).session())
    assert (check.held, len(check.evidence)) == (False, 300)
