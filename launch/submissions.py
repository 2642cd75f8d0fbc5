"""The memory of what was submitted where, in the collection ``runs`` of the screen's store.

One document per screening file's content: it says who is at work on it, so that submitting the
same screen twice, even at the same moment, starts it once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launch.managers import progress_of
from launch.run_log import screen_run_id
from stores.documents import as_utc
from stores.errors import BadInput
from stores.screen_store import ScreenStore

if TYPE_CHECKING:
    from jobflow import Flow

    from workflows.spec import ScreenSpec

JUST_NOW = timedelta(minutes=2)
"""How long a submission may be on its way to a queue."""


@contextmanager
def submitting(
    store: ScreenStore,
    screen: ScreenSpec,
    spec_file: Path,
    flow: Flow,
    *,
    again: bool,
    **manager: Any,
) -> Iterator[dict[str, Any]]:
    """Note a submission, and take the note back if what is done meanwhile fails.

    Parameters
    ----------
    store
        The screen's store, open for writing.
    screen, spec_file
        What is submitted.
    flow
        Its graph, about to be given to a manager.
    again
        Submit also what is at work already.
    manager
        ``manager`` and where to ask it, as :mod:`launch.managers` wants them.

    Yields
    ------
    dict
        The note.

    Raises
    ------
    BadInput
        It is at work already.
    """
    run_id = screen_run_id(screen)
    about = {
        **manager,
        "flow_uuid": flow.uuid,
        "name": screen.name,
        "screen_id": screen.screen_id,
        "spec_file": str(spec_file.absolute()),
    }
    claim_submission(store, run_id, about, progress_of, again=again)
    try:
        yield about
    except BaseException:
        store.runs.remove_docs({"_id": f"submission:{run_id}", "flow_uuid": flow.uuid})
        raise


def claim_submission(
    store: ScreenStore,
    run_id: str,
    fields: dict[str, Any],
    describe: Callable[[dict[str, Any]], str | None],
    *,
    again: bool,
) -> None:
    """Note a submission, unless the same one is still at work.

    Parameters
    ----------
    store
        The screen's store, open for writing.
    run_id
        Names the screening file's content.
    fields
        What is kept: at least ``manager`` and ``flow_uuid``.
    describe
        Says of an earlier submission how far it is, or None where it is over or unknown.
    again
        Submit whatever there is.

    Raises
    ------
    BadInput
        It is at work already.
    """
    key = f"submission:{run_id}"
    new = {"run_id": key, "kind": "submission", "submitted_at": datetime.now(UTC), **fields}
    runs = store.runs._collection
    if runs.update_one({"_id": key}, {"$setOnInsert": new}, upsert=True).upserted_id is not None:
        return
    old = runs.find_one({"_id": key}) or {}
    if not again:
        state = describe(old)
        if state is None and as_utc(old["submitted_at"]) > datetime.now(UTC) - JUST_NOW:
            state = "on its way"
        if state is not None:
            raise BadInput(
                f"{old['name']}: was submitted already as flow {old['flow_uuid']} ({state}); "
                "watch that one, or give --again"
            )
    # Only from what was looked at just now: of two that come at once, one wins.
    mine = {"_id": key, "flow_uuid": old.get("flow_uuid")}
    if not runs.update_one(mine, {"$set": new}).matched_count:
        raise BadInput(f"{fields['name']}: is being submitted by somebody else at this moment")


def submissions(store: ScreenStore) -> Iterator[dict[str, Any]]:
    """Yield all submissions, the latest first."""
    yield from store.runs.query({"kind": "submission"}, sort={"submitted_at": -1})
