"""docker-py's client, mended. Imported late, as docker-py is: it costs 100 ms."""

from __future__ import annotations

from typing import Any

import docker


class _Api(docker.APIClient):
    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """An authority that was named holds; requests would put REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE in its place."""
        return super().merge_environment_settings(url, proxies, stream, self.verify, cert)


class Client(docker.DockerClient):
    """`docker.DockerClient`, which trusts the authority of its `tls` and no other."""

    def __init__(self, **options: Any) -> None:
        self.api = _Api(**options)
