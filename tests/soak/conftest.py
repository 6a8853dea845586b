"""Docker daemons of our own, each in its own network namespace: two daemons in one delete each other's bridge."""

import contextlib
import gc
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fastslow.sandbox import DockerMissing, docker_client, image_tag

DAEMON = """
ip link set lo up
exec dockerd --bridge=none --iptables=false --data-root="$0/data" --exec-root="$0/exec" --pidfile="$0/pid" \
  --host="unix://$0/socket" --containerd-namespace=soak --containerd-plugins-namespace=soak-plugins \
  --log-level=error --shutdown-timeout=3
"""


class Daemon:
    """A Docker daemon that can be stopped, killed and started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = f"unix://{folder}/socket"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            command = ["unshare", "--net", "--mount", "bash", "-c", DAEMON, str(self.folder)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 30
        while True:
            try:
                return docker_client(host=self.host).close()
            except DockerMissing:
                assert time.monotonic() < deadline, (self.folder / "log").read_text()[-2000:]
                assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
                time.sleep(0.1)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(60)
        if how == signal.SIGKILL:
            with contextlib.suppress(FileNotFoundError):
                (self.folder / "pid").unlink()

    def load(self, image: str) -> None:
        saving = subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE)
        subprocess.run(["docker", "--host", self.host, "load", "--quiet"], stdin=saving.stdout, check=True)
        assert saving.stdout is not None
        saving.stdout.close()
        assert saving.wait() == 0

    def containers(self) -> list[str]:
        client = docker_client(host=self.host)
        try:
            return [facts["Id"] for facts in client.api.containers(all=True)]
        finally:
            client.close()


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What docker-py forgets is found while the test's own filter of warnings holds."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A second daemon with the image in it. Needs root."""
    assert os.geteuid() == 0, "a second Docker daemon needs root; run `sudo make soak`"
    folder = tmp_path_factory.mktemp("daemon")
    daemon = Daemon(folder)
    daemon.start()
    try:
        daemon.load(image_tag())
        yield daemon
    finally:
        daemon.stop()
        for process in psutil.process_iter(["cmdline"]):  # shims that a killed daemon has forgotten
            if any(str(folder) in word for word in process.info["cmdline"] or ()):
                process.kill()
        subprocess.run(["rm", "-rf", str(folder)], check=True)
