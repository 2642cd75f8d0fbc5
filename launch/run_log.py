"""The memory of local runs, in the collection ``runs`` of the screen's store.

One document per run holds the flow, one per job its state and, once finished, its response.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maggma.core import Store

from stores.hashing import content_hash, file_sha256

if TYPE_CHECKING:
    from workflows.spec import ScreenSpec


def run_id(spec: dict[str, Any]) -> str:
    """Name the run of a screening file's content by this version of hopscreen.

    Another version may make other jobs, and a changed file another flow: each is a new run, and
    its stages find the results of the earlier one.
    """
    return content_hash([spec, version("hopscreen")])


def screen_run_id(screen: ScreenSpec) -> str:
    """Name the run of a screening file; where it runs and what it keeps results in do not count."""
    from workflows.sources import FilesOptions

    asked = screen.model_dump(mode="json", exclude={"store", "launch"})
    files = screen.candidates.matches() if isinstance(screen.candidates, FilesOptions) else []
    return run_id({**asked, "files": [file_sha256(path) for path in files]})


class RunLog:
    """The memory of one run.

    Parameters
    ----------
    runs
        The collection.
    run_id
        From :func:`run_id`.
    about
        Kept beside the flow: what a person wants to know of the run.
    """

    def __init__(self, runs: Store, run_id: str, about: dict[str, Any] | None = None) -> None:
        self.runs = runs
        self.run_id = run_id
        self.about = about or {}

    @property
    def begun(self) -> bool:
        """Whether there is a flow to go on with."""
        return self._get(self.run_id) is not None

    @property
    def finished(self) -> bool:
        """Whether the last pass found nothing left to do."""
        doc = self._get(self.run_id)
        return bool(doc and doc.get("finished_at"))

    def flow(self) -> str | None:
        """Return the saved flow as JSON text, None if the run has not begun."""
        doc = self._get(self.run_id)
        return doc["flow"] if doc else None

    def start(self, flow: str) -> None:
        """Save the flow. As text, since a document's keys may not hold dots and dollars."""
        self._put(self.run_id, kind="run", flow=flow, started_at=_now(), **self.about)

    def finish(self) -> None:
        """Note that every job is finished."""
        self._put(self.run_id, finished_at=_now())

    def response(self, uuid: str, index: int) -> str | None:
        """Return the response of a finished job, None for any other."""
        doc = self._jobs.get(self._key(uuid, index))
        return doc["response"] if doc and doc["state"] == "done" else None

    def number(self, uuid: str, index: int) -> int:
        """Return the job's place in the order of first starts, from 1."""
        doc = self._jobs.get(self._key(uuid, index))
        return doc["number"] if doc else len(self._jobs) + 1

    def job_started(self, uuid: str, index: int, name: str, number: int, folder: Path) -> None:
        """Note the start of a job."""
        self._put_job(
            uuid,
            index,
            kind="job",
            of=self.run_id,
            name=name,
            number=number,
            folder=str(folder),
            state="running",
            started_at=_now(),
            error=None,
        )

    def job_finished(self, uuid: str, index: int, response: str) -> None:
        """Note the end of a job, after its output has been stored."""
        self._put_job(uuid, index, state="done", response=response, ended_at=_now())

    def job_failed(self, uuid: str, index: int, error: Exception) -> None:
        """Note that a job raised."""
        text = f"{type(error).__name__}: {error}"
        self._put_job(uuid, index, state="failed", error=text, ended_at=_now())

    @cached_property
    def _jobs(self) -> dict[str, dict[str, Any]]:
        """All jobs of the run: read once, for this process alone writes to them."""
        return {doc["run_id"]: doc for doc in self.runs.query({"kind": "job", "of": self.run_id})}

    def _key(self, uuid: str, index: int) -> str:
        return f"{self.run_id}:{uuid}:{index}"

    def _put_job(self, uuid: str, index: int, **fields: Any) -> None:
        key = self._key(uuid, index)
        self._jobs[key] = {**self._jobs.get(key, {}), **fields}
        self._put(key, **fields)

    def _get(self, key: str) -> dict[str, Any] | None:
        doc: dict[str, Any] | None = self.runs.query_one({"run_id": key})
        return doc

    def _put(self, key: str, **fields: Any) -> None:
        # MongoStore.update replaces whole documents; a field at a time keeps the flow in place.
        self.runs._collection.update_one(
            {"run_id": key}, {"$set": {"run_id": key, **fields}}, upsert=True
        )


def all_runs(runs: Store) -> Iterator[dict[str, Any]]:
    """Yield the runs of a store without their flows, the latest first."""
    fields = ["run_id", "name", "screen_id", "spec_file", "folder", "started_at", "finished_at"]
    yield from runs.query({"kind": "run"}, properties=fields, sort={"started_at": -1})


def jobs_of(runs: Store, run_id: str) -> list[dict[str, Any]]:
    """Return the jobs of a run in the order of their start, without their responses."""
    fields = ["name", "number", "state", "folder", "error", "started_at", "ended_at"]
    return list(runs.query({"kind": "job", "of": run_id}, properties=fields, sort={"number": 1}))


def forget(runs: Store) -> None:
    """Forget how far all local runs have come; their results stay, and are found again."""
    runs.remove_docs({"kind": {"$in": ["run", "job"]}})


def _now() -> datetime:
    return datetime.now(UTC)
