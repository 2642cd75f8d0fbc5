"""The embedded store under ``kill -9``: what was said to be written is there."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from stores.documents import HopDoc
from stores.screen_store import open_store

# Says each number after its documents and its blob are written, as a stage does.
_WRITER = """
import sys
from stores.documents import HopDoc, Provenance
from stores.screen_store import open_store

uri, worker = sys.argv[1:]
origin = Provenance(versions={})
with open_store(uri) as store:
    print("ready", flush=True)
    for batch in range(10**6):
        store.put(
            HopDoc(
                hop_id=f"{worker}-{batch}-{i}", candidate_id=f"{worker}-{batch}", material_id="m",
                working_ion="Li", sites=(0, 0), translation=(1, 0, 0), length_ang=3.0,
                multiplicity=1, edges=[(0, 0, 1, 0, 0)], dimension=1, recipe_version=1,
                provenance=origin,
            )
            for i in range(20)
        )
        store.save_blob(f"{worker}-{batch}", {"images": list(range(2000))})
        print(batch, flush=True)
"""


def _written(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    lines = [line for line in process.stdout.read().splitlines() if line.isdigit()]
    return len(lines)


def _check(uri: str, worker: str, written: int) -> None:
    with open_store(uri, create=False) as store:
        for batch in range(written):
            assert store.count(HopDoc, {"candidate_id": f"{worker}-{batch}"}) == 20
            assert len(store.load_blob(f"{worker}-{batch}")["images"]) == 2000
        # A batch is there as a whole or not at all, its index entries too.
        after = store.count(HopDoc, {"candidate_id": {"$gte": f"{worker}-", "$lt": f"{worker}."}})
        assert after in (20 * written, 20 * (written + 1))
        assert len(store.ids(HopDoc, {"hop_id": {"$regex": f"^{worker}-"}})) == after


@pytest.mark.parametrize("seed", range(3))
def test_two_writers_killed_at_any_moment(tmp_path, seed):
    uri = str(tmp_path / "store")
    open_store(uri).close()
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, uri, name], stdout=subprocess.PIPE, text=True
        )
        for name in ("a", "b")
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    time.sleep(random.Random(seed).uniform(0.05, 0.6))
    for worker in workers:
        worker.send_signal(signal.SIGKILL)
    for worker in workers:
        worker.wait()
    for worker, name in zip(workers, ("a", "b"), strict=True):
        _check(uri, name, _written(worker))
    with sqlite3.connect(tmp_path / "store" / "store.sqlite") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    # and it can be written to again at once
    with open_store(uri) as store:
        store.tag_screen("s", ["x"])
        assert store.count(HopDoc) > 0
