"""Candidates: asked of their source, filtered, made primitive and kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

from jobflow import job
from pymatgen.core import Structure

from stores.documents import CandidateDoc, Failure, Provenance
from stores.errors import BadInput
from stores.hashing import content_hash
from stores.screen_store import open_store
from workflows.duplicates import Duplicates
from workflows.filters import Refused, apply_filters
from workflows.hosts import (
    PackedHost,
    Unfit,
    host_of,
    pack,
    prepare_host,
    structure_hash,
    unpack,
)
from workflows.insertion import (
    Filled,
    InsertionOptions,
    Twins,
    fill_by_bond_valence,
    fill_given,
    is_empty,
)
from workflows.progress import Progress
from workflows.provenance import provenance
from workflows.sources import CandidateRecord
from workflows.spec import ScreenSpec

Item = TypeVar("Item")

BATCH = 1000
"""Hosts in one job of the cheap stages: minutes of work for seconds of scheduling and of starting
processes."""

FILTER_VERSION = 1
"""Raised when the same options would judge otherwise."""

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
        judged: dict[str, Any] = {
            "source": screen.candidates.source,
            "working_ion": screen.working_ion,
            "filter_settings": filter_settings(screen),
        }
        if screen.insertion:
            # A twin may have come since.
            judged["rejected_by"] = {"$ne": "insertion"}
        known = {key.removesuffix(suffix) for key in store.ids(CandidateDoc, judged)}
        kept = store.find(CandidateDoc, {"screens": screen.screen_id, "status": "ok"})
        with Progress("candidates").track(total=None, what="hosts") as step:
            twins = store.find(CandidateDoc, twins_of(screen))
            for page in _pages(candidate_docs(screen, known, kept, twins)):
                store.put(doc for _, doc in page if doc)
                known_here = [r.material_id + suffix for r, doc in page if doc is None]
                store.tag_screen(screen.screen_id, known_here)
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


def _pages(entries: Iterable[Item]) -> Iterator[list[Item]]:
    """Yield pages of entries; what came before a source's failure is a page too."""
    page: list[Item] = []
    try:
        for entry in entries:
            page.append(entry)
            if len(page) == PAGE:
                yield page
                page = []
    except Exception:
        if page:
            yield page
        raise
    if page:
        yield page


def candidate_docs(
    screen: ScreenSpec,
    known: Container[str] = frozenset(),
    kept: Iterable[CandidateDoc] = (),
    twins: Iterable[CandidateDoc] = (),
) -> Iterator[tuple[CandidateRecord, CandidateDoc | None]]:
    """Yield each record of the source with its document, None where it is known already.

    Parameters
    ----------
    screen
        Says where candidates come from and which filters they pass.
    known
        Material ids that these filters have judged before.
    kept
        Those of them that passed: later duplicates of them are refused.
    twins
        Hosts with the working ion, for those without it; read after all records, and only if
        there are such.
    """
    origin = provenance()
    seen: Duplicates | None = None
    # Hosts without the ion wait for the others, among which their twins are; packed, for they
    # may be many.
    empty: list[tuple[CandidateRecord, PackedHost]] = []
    sought: Twins | None = None
    if screen.insertion and screen.insertion.twins:
        sought = Twins(screen.working_ion)
    for record in screen.candidates.records(screen.working_ion, known):
        if record.known:
            yield record, None
            continue
        if seen is None and not screen.filters.keep_duplicates:
            # Only now: a screen that goes on with nothing new reads no structure.
            seen = Duplicates()
            for doc in kept:
                if doc.material_id in known:
                    digest = doc.structure_hash or ""
                    seen.remember(doc.material_id, host_of(doc), digest, doc.inserted is not None)
        host = record.structure
        if sought and host and host.is_ordered and is_empty(host, screen.working_ion):
            empty.append((replace(record, structure=None), pack(host)))
            continue
        doc = candidate_doc(record, screen, origin, seen)
        if doc.status == "ok" and sought is not None:
            sought.remember(doc.material_id, host_of(doc))
        yield record, doc
    if sought is not None and empty:
        for doc in twins:
            sought.remember(doc.material_id, host_of(doc))
    for record, packed in empty:
        whole = replace(record, structure=unpack(packed))
        yield record, candidate_doc(whole, screen, origin, seen, sought)


def twins_of(screen: ScreenSpec) -> dict[str, Any]:
    """Return the criteria of the store's hosts that may be twins."""
    return {"working_ion": screen.working_ion, "status": "ok", "inserted": None}


def filter_settings(screen: ScreenSpec) -> str:
    """Hash what decides a verdict: with other filters, a candidate is judged anew."""
    decides: list[Any] = [screen.filters.model_dump(mode="json"), FILTER_VERSION]
    if screen.insertion:
        decides.append(screen.insertion.model_dump(mode="json"))
    return content_hash(decides)


def candidate_doc(
    record: CandidateRecord,
    screen: ScreenSpec,
    origin: Provenance,
    seen: Duplicates | None = None,
    twins: Twins | None = None,
) -> CandidateDoc:
    """Filter and prepare one record; a refusal or an error is a document too.

    ``seen`` remembers the hosts before it; None lets duplicates pass. ``twins`` are asked for
    the sites of a host that lacks the working ion.
    """
    doc = CandidateDoc(
        candidate_id=f"{record.material_id}:{screen.working_ion}",
        material_id=record.material_id,
        source=record.source,
        formula=record.structure.composition.reduced_formula if record.structure else "",
        working_ion=screen.working_ion,
        filter_settings=filter_settings(screen),
        energy_above_hull_ev=record.energy_above_hull_ev,
        band_gap_ev=record.band_gap_ev,
        reference=record.reference,
        metadata=record.metadata,
        screens=[screen.screen_id],
        error=record.error,
        provenance=origin,
    )
    if record.structure is None:
        return doc.model_copy(update={"status": "failed"})
    try:
        structure, inserted, formula = record.structure, None, ""
        if screen.insertion and is_empty(structure, screen.working_ion):
            filled = _fill(record, structure, screen, twins)
            structure, inserted, formula = filled.structure, filled.origin, filled.formula
        passed = apply_filters(structure, screen.working_ion, screen.filters, formula)
        host = prepare_host(passed, screen.working_ion)
        digest = structure_hash(host)
        if seen:
            seen.add(record.material_id, host, digest, inserted is not None)
    except Refused as refused:
        return _rejected(doc, refused.rejected_by, refused.reason)
    except Unfit as unfit:
        return _rejected(doc, unfit.reason, str(unfit))
    return doc.model_copy(
        update={
            "structure": host.as_dict(),
            "inserted": inserted,
            "structure_hash": digest,
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


def _fill(
    record: CandidateRecord, empty: Structure, screen: ScreenSpec, twins: Twins | None
) -> Filled:
    """Fill a host that lacks the ion: at the sites given for it, a twin's, or fitting ones."""
    options = screen.insertion or InsertionOptions()
    for name in (record.material_id, record.reference):
        if name in options.sites:
            return fill_given(empty, screen.working_ion, options.sites[name])
    try:
        if twins is None:
            raise Refused("insertion", f"has no {screen.working_ion}, and no insertion.sites")
        return twins.fill(empty)
    except Refused:
        if not options.bond_valence:
            raise
        return fill_by_bond_valence(empty, screen.working_ion)


def _rejected(doc: CandidateDoc, name: str, reason: str) -> CandidateDoc:
    error = Failure(kind=name, message=reason)
    return doc.model_copy(update={"status": "rejected", "rejected_by": name, "error": error})
