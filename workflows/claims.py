"""Who is at work on what, so that two jobs never compute the same estimate at the same time.

A claim is a document in ``runs`` with a heartbeat. It ends with the work; the claim of a process
that was killed ends by itself when its heart has been still for :data:`STALE_S`, and at once for
the same job when it runs again.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pymongo.errors import DuplicateKeyError, PyMongoError

from stores.errors import BadInput
from stores.screen_store import ScreenStore, open_store

BEAT_S = 30.0
"""Time between two heartbeats."""
STALE_S = 600.0
"""A claim without a heartbeat for so long is nobody's: longer than a node may hang."""

LOOK_AGAIN_S = 5.0
"""Time between two looks at what others are at."""


@contextlib.contextmanager
def claimed(store: ScreenStore, key: str, owner: str, **about: Any) -> Iterator[bool]:
    """Hold a claim while the body runs; yields False if somebody else holds it.

    Parameters
    ----------
    store
        Open for writing.
    key
        What is claimed.
    owner
        The job, by its uuid: run again after a kill, it is its own heir.
    about
        Kept in the claim for people.
    """
    if not _take(store, key, owner, about):
        yield False
        return
    over = threading.Event()
    beat = threading.Thread(target=_beat, args=(store.uri, key, owner, over), daemon=True)
    beat.start()
    try:
        yield True
    finally:
        over.set()
        beat.join()
        # With the database gone, the claim ends by itself.
        with contextlib.suppress(PyMongoError):
            release(store, key, owner)


def wait_for_others(uri: str, keys: Iterable[str], owner: str, say: Callable[[str], None]) -> None:
    """Return when one of the claims that others hold has ended."""
    held = list(keys)
    with open_store(uri) as store:
        while True:
            alive = {claim["run_id"] for claim in running(store) if claim["owner"] != owner}
            if not all(_id(key) in alive for key in held):
                return
            say(f"{len(held)} of these are being computed by other jobs; waiting for them")
            time.sleep(LOOK_AGAIN_S)


def release(store: ScreenStore, key: str, owner: str) -> None:
    """End the claim of a process that died."""
    store.runs._collection.delete_one({"_id": _id(key), "owner": owner})


def running(store: ScreenStore, criteria: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return the claims that are alive."""
    fresh = {"kind": "claim", "beat_s": {"$gt": time.time() - STALE_S}}
    return list(store.runs.query({**(criteria or {}), **fresh}))


def _take(store: ScreenStore, key: str, owner: str, about: dict[str, Any]) -> bool:
    fields = {
        "run_id": _id(key),
        "kind": "claim",
        "owner": owner,
        "host": socket.gethostname(),
        "process": os.getpid(),
        "beat_s": time.time(),
        **about,
    }
    runs = store.runs._collection
    with contextlib.suppress(DuplicateKeyError):  # the server's word for: another one was first
        made = runs.update_one({"_id": _id(key)}, {"$setOnInsert": fields}, upsert=True)
        if made.upserted_id is not None:
            return True
    free = [{"owner": owner}, {"beat_s": {"$lt": time.time() - STALE_S}}]
    return bool(runs.update_one({"_id": _id(key), "$or": free}, {"$set": fields}).matched_count)


def _beat(uri: str, key: str, owner: str, over: threading.Event) -> None:
    while not over.wait(BEAT_S):
        # A store belongs to one thread; a server that is away for a moment is asked again.
        with contextlib.suppress(PyMongoError, BadInput), open_store(uri) as store:
            store.runs._collection.update_one(
                {"_id": _id(key), "owner": owner}, {"$set": {"beat_s": time.time()}}
            )


def _id(key: str) -> str:
    return f"claim:{key}"
