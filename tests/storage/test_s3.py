"""A store on S3: the promises of every store, kept over a network that fails, on a server that does wrong."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests.storage.servers import Bucket, point_at
from tests.storage.test_suite import RemoteSuite

pytest.importorskip("s3fs", reason="s3fs is not installed")
moto_server = pytest.importorskip("moto.server", reason="moto[server] is not installed")


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server
    server.stop()
    server._server.server_close()


@pytest.fixture(autouse=True)
def bucket(server: Any, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    bucket = Bucket(server, f"bucket-{secrets.token_hex(4)}")
    point_at(monkeypatch, bucket.port)
    return bucket


class TestS3(RemoteSuite):
    @pytest.fixture(autouse=True)
    def use_bucket(self, bucket: Bucket) -> None:
        self.url = f"{bucket.url}/{{folder.name}}"
