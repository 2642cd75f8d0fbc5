"""What every test may rely on: an environment of its own, and a real server to talk to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from secantus import SecantusDBServer

SHARED = Path(os.environ.get("HOPSCREEN_SHARED", Path(__file__).parents[2] / "shared"))


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


@pytest.fixture(scope="session")
def training_data() -> Path:
    """The literature barriers, where they lie beside the repository."""
    path = SHARED / "data" / "em_barriers_train.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"{path.name} is not in $HOPSCREEN_SHARED/data")
    return path
