"""Servers that the integration tests talk to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from secantus import SecantusDBServer


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server of the MongoDB wire protocol on a free loopback port."""
    server = SecantusDBServer(storage_path=str(tmp_path_factory.mktemp("secantus")))
    server.start()
    try:
        yield server.uri.rstrip("/")
    finally:
        server.stop()
