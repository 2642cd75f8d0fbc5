"""Hops: the symmetrically distinct ones of each host of a batch."""

from __future__ import annotations

from typing import Any

from jobflow import job

from stores.documents import CandidateDoc
from stores.hashing import content_hash
from stores.screen_store import open_store
from workflows.hops import RECIPE_VERSION, enumerate_hosts
from workflows.pool import available_processes
from workflows.progress import Progress
from workflows.provenance import provenance
from workflows.spec import HopOptions, ScreenSpec


def hops_settings(options: HopOptions) -> str:
    """Hash what decides a host's hops: a host done with other settings is done again."""
    return content_hash(
        [options.dimension, round(options.max_length, 6), options.mode, RECIPE_VERSION]
    )


@job
def enumerate_hops(spec: dict[str, Any], store_uri: str, first: str, last: str) -> dict[str, int]:
    """Enumerate the hops of the candidates from id ``first`` to ``last``."""
    screen = ScreenSpec.model_validate(spec)
    settings = hops_settings(screen.hops)
    progress = Progress("hops")
    count = failed = 0
    with open_store(store_uri) as store:
        waiting = list(
            store.find(
                CandidateDoc,
                {
                    "screens": screen.screen_id,
                    "status": "ok",
                    "candidate_id": {"$gte": first, "$lte": last},
                    "hops_settings": {"$ne": settings},
                },
            )
        )
        origin = provenance()
        with progress.track(total=len(waiting), what="hosts") as step:
            for outcome in enumerate_hosts(
                waiting,
                dimension=screen.hops.dimension,
                max_length_ang=screen.hops.max_length,
                mode=screen.hops.mode,
                workers=available_processes(),
                provenance=origin,
            ):
                # Hops first: a host marked done has them all.
                store.put(outcome.hops)
                store.put([outcome.candidate.model_copy(update={"hops_settings": settings})])
                count += len(outcome.hops)
                failed += outcome.candidate.hops_status == "failed"
                step()
    return {"hosts": len(waiting), "hops": count, "failed": failed}
