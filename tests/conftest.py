"""What every test may rely on: an environment of its own, and a real server to talk to."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from secantus import SecantusDBServer


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """Undo what a test leaves in the environment, such as the login of a store's address."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server of the MongoDB wire protocol on a free loopback port."""
    server = SecantusDBServer(storage_path=str(tmp_path_factory.mktemp("secantus")))
    server.start()
    try:
        yield server.uri.rstrip("/")
    finally:
        server.stop()
