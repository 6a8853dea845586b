"""Daemon and image, as far as they go without a daemon."""

import subprocess
import sys

import pytest

from fastslow.sandbox import DockerMissing, docker_client, ensure_docker, image_tag
from fastslow.sandbox.owner import Owner


def test_no_daemon_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(DockerMissing, match="DOCKER_HOST='unix:///nowhere/docker"):
        docker_client()


async def test_a_daemon_named_by_the_user_is_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    with pytest.raises(DockerMissing, match="DOCKER_HOST"):
        await ensure_docker(lambda *_: None)


def test_image_tag_is_stable() -> None:
    assert image_tag() == image_tag()
    assert image_tag().startswith("fastslow-sandbox:")


def test_importing_the_room_does_not_import_docker() -> None:
    code = "import sys, sandbox; print([m for m in ('docker', 'requests') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_owners_are_told_apart() -> None:
    me = Owner.me()
    assert Owner.parse(me.label()) == me
    assert Owner.parse("nonsense") is None
    assert not me.gone(me)
    assert Owner(me.boot, me.namespace, me.pid, "1").gone(me), "the pid was given to another process"
    assert Owner(me.boot, me.namespace, 2**22 + 1, "1").gone(me)
    assert not Owner("another boot", me.namespace, 2**22 + 1, "1").gone(me), "another machine's, perhaps"
    assert not Owner(me.boot, "pid:[1]", 2**22 + 1, "1").gone(me)
