"""Candidates: asked of their source, filtered, made primitive and kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator
from typing import Any

from jobflow import job

from stores.documents import CandidateDoc, Failure, Provenance
from stores.errors import BadInput
from stores.screen_store import open_store
from workflows.batches import batched
from workflows.filters import Refused, apply_filters
from workflows.hosts import Unfit, prepare_host, structure_hash
from workflows.progress import Progress
from workflows.provenance import provenance
from workflows.sources import CandidateRecord
from workflows.spec import ScreenSpec

BATCH = 200
"""Hosts in one job of the cheap stages: minutes of work for seconds of scheduling."""

PAGE = 50
"""Hosts written at once: what a crash can cost."""


@job
def find_candidates(spec: dict[str, Any], store_uri: str) -> dict[str, Any]:
    """Fill ``candidates`` from the source of the screening file.

    Returns
    -------
    dict
        ``{"found": n, "ok": n, "refused": {reason: n}, "batches": [[first, last], …]}``, the
        batches as first and last candidate id.

    Raises
    ------
    BadInput
        The source cannot answer, or nothing is left to screen.
    """
    screen = ScreenSpec.model_validate(spec)
    with open_store(store_uri) as store:
        suffix = f":{screen.working_ion}"
        source = {"source": screen.candidates.source, "working_ion": screen.working_ion}
        known = {key.removesuffix(suffix) for key in store.ids(CandidateDoc, source)}
        with Progress("candidates").track(total=None, what="hosts") as step:
            for page in batched(candidate_docs(screen, known), PAGE):
                store.put(doc for _, doc in page if doc)
                store.tag_screen(screen.screen_id, [r.material_id + suffix for r, _ in page])
                step(len(page))
        refused = Counter(
            doc.rejected_by or "failed"
            for doc in store.find(
                CandidateDoc, {"screens": screen.screen_id, "status": {"$ne": "ok"}}
            )
        )
        ids = store.ids(CandidateDoc, {"screens": screen.screen_id, "status": "ok"})
    if not ids:
        raise nothing_left(refused)
    batches = [ids[i : i + BATCH] for i in range(0, len(ids), BATCH)]
    return {
        "found": len(ids) + refused.total(),
        "ok": len(ids),
        "refused": dict(sorted(refused.items())),
        "batches": [[batch[0], batch[-1]] for batch in batches],
    }


def candidate_docs(
    screen: ScreenSpec, known: Container[str] = frozenset()
) -> Iterator[tuple[CandidateRecord, CandidateDoc | None]]:
    """Yield each record of the source with its document, None where it is known already."""
    origin = provenance()
    for record in screen.candidates.records(screen.working_ion, known):
        yield record, None if record.known else candidate_doc(record, screen, origin)


def candidate_doc(record: CandidateRecord, screen: ScreenSpec, origin: Provenance) -> CandidateDoc:
    """Filter and prepare one record; a refusal or an error is a document too."""
    doc = CandidateDoc(
        candidate_id=f"{record.material_id}:{screen.working_ion}",
        material_id=record.material_id,
        source=record.source,
        formula=record.structure.composition.reduced_formula if record.structure else "",
        working_ion=screen.working_ion,
        energy_above_hull_ev=record.energy_above_hull_ev,
        band_gap_ev=record.band_gap_ev,
        reference=record.reference,
        metadata=record.metadata,
        error=record.error,
        provenance=origin,
    )
    if record.structure is None:
        return doc.model_copy(update={"status": "failed"})
    try:
        passed = apply_filters(record.structure, screen.working_ion, screen.filters)
        host = prepare_host(passed, screen.working_ion)
    except Refused as refused:
        return _rejected(doc, refused.rejected_by, refused.reason)
    except Unfit as unfit:
        return _rejected(doc, unfit.reason, str(unfit))
    return doc.model_copy(
        update={
            "structure": host.as_dict(),
            "structure_hash": structure_hash(host),
            "num_sites": len(host),
        }
    )


def nothing_left(refused: Counter[str], last: CandidateDoc | None = None) -> BadInput:
    """Say that no candidate is left, which filters took them, and why the ``last`` one fell."""
    reasons = ", ".join(f"{count} by {name}" for name, count in sorted(refused.items()))
    example = f", e.g. {last.material_id}: {last.error.message}" if last and last.error else ""
    return BadInput(
        f"candidates: none of {refused.total()} is left to screen"
        + (f" (refused: {reasons}{example})" if reasons else "; none has this working ion")
        + "; widen candidates or filters"
    )


def _rejected(doc: CandidateDoc, name: str, reason: str) -> CandidateDoc:
    error = Failure(kind=name, message=reason)
    return doc.model_copy(update={"status": "rejected", "rejected_by": name, "error": error})
