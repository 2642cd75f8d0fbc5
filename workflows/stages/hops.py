"""Hops: the symmetrically distinct ones of each host of a batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from jobflow import job

from stores.documents import CandidateDoc, Failure, HopDoc, Provenance
from stores.hashing import content_hash
from stores.screen_store import open_store
from workflows.bands import Mode
from workflows.batches import batched
from workflows.hops import RECIPE_VERSION, distinct_hops, to_doc
from workflows.hosts import host_of
from workflows.pool import Report, available_processes, map_processes
from workflows.progress import Progress
from workflows.provenance import provenance
from workflows.spec import HopOptions, ScreenSpec

CHUNK = 100
"""Hosts handed to a process at once, and written at once: a second of work or so."""


def hops_settings(options: HopOptions) -> str:
    """Hash what decides a host's hops: a host done with other settings is done again."""
    return content_hash(
        [options.dimension, round(options.max_length, 6), options.mode, RECIPE_VERSION]
    )


def mode_of(candidate: CandidateDoc, options: HopOptions) -> Mode:
    """Return the mode of a candidate's hops: inserted ions are alone in their host."""
    return "dilute" if candidate.inserted else options.mode


@job
def enumerate_hops(spec: dict[str, Any], store_uri: str, first: str, last: str) -> dict[str, int]:
    """Enumerate the hops of the candidates from id ``first`` to ``last``."""
    screen = ScreenSpec.model_validate(spec)
    waiting = {
        "screens": screen.screen_id,
        "status": "ok",
        "candidate_id": {"$gte": first, "$lte": last},
        "hops_settings": {"$ne": hops_settings(screen.hops)},
    }
    progress = Progress("hops")
    hops = failed = 0
    with open_store(store_uri) as store:
        ids = store.ids(CandidateDoc, waiting)
        origin = provenance()
        chunks = [HostChunk(store_uri, part, screen.hops, origin) for part in batched(ids, CHUNK)]
        with progress.track(total=len(ids), what="hosts") as step:
            for chunk, (found, bad) in map_processes(
                enumerate_chunk,
                chunks,
                processes=available_processes(),
                on_report=progress.say,
                on_death=keep_death,
                split=lambda chunk: [
                    replace(chunk, candidate_ids=(i,)) for i in chunk.candidate_ids
                ],
            ):
                hops, failed = hops + found, failed + bad
                step(len(chunk.candidate_ids))
    return {"hosts": len(ids), "hops": hops, "failed": failed}


@dataclass(frozen=True)
class HostChunk:
    """Hosts that one process enumerates."""

    store_uri: str
    candidate_ids: tuple[str, ...]
    options: HopOptions
    origin: Provenance


def enumerate_chunk(chunk: HostChunk, report: Report) -> tuple[int, int]:
    """Enumerate and keep the hops of a chunk; return how many hops, and how many failed hosts."""
    docs: list[HopDoc] = []
    judged: list[CandidateDoc] = []
    with open_store(chunk.store_uri) as store:
        among = {"candidate_id": {"$in": list(chunk.candidate_ids)}}
        for candidate in store.find(CandidateDoc, among):
            done: dict[str, Any] = {"hops_settings": hops_settings(chunk.options), "error": None}
            try:
                found = distinct_hops(
                    host_of(candidate),
                    candidate.working_ion,
                    dimension=chunk.options.dimension,
                    max_length_ang=chunk.options.max_length,
                )
            except Exception as error:
                # Whatever symmetry or geometry makes of one host, the others go on.
                message = " ".join(str(error).split()) or repr(error)
                done |= {
                    "hops_status": "failed",
                    "error": Failure(kind=type(error).__name__, message=message),
                }
            else:
                mode = mode_of(candidate, chunk.options)
                docs += [to_doc(hop, candidate, mode, chunk.origin) for hop in found.hops]
                done |= {"hops_status": "done", "dimension": found.dimension}
            judged.append(candidate.model_copy(update=done))
        # Hops first: a host that is marked done has them all.
        store.put(docs)
        store.put(judged)
    return len(docs), sum(doc.hops_status == "failed" for doc in judged)


def keep_death(chunk: HostChunk, cause: str) -> tuple[int, int]:
    """Keep that enumerating the hops of a host ends the process that does it."""
    message = f"its process ended twice by {cause}, the second time alone"
    done = {
        "hops_status": "failed",
        "hops_settings": hops_settings(chunk.options),
        "error": Failure(kind="WorkerDied", message=message),
    }
    with open_store(chunk.store_uri) as store:
        among = {"candidate_id": {"$in": list(chunk.candidate_ids)}}
        docs = [doc.model_copy(update=done) for doc in store.find(CandidateDoc, among)]
        store.put(docs)
    return 0, len(docs)
