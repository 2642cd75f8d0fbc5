"""Score: the band model's barrier and interval for every hop of a batch of hosts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from jobflow import job

from em_model.data import Band
from stores.documents import (
    BarrierDoc,
    CandidateDoc,
    Failure,
    HopDoc,
    ModelRef,
    Provenance,
)
from stores.hashing import content_hash
from stores.screen_store import ScreenStore, open_store
from workflows.bands import Mode, build_band
from workflows.batches import batched
from workflows.hops import Hop
from workflows.hosts import host_of
from workflows.neb_plan import hop_recipe
from workflows.pool import Report, available_processes, map_processes
from workflows.progress import Progress
from workflows.provenance import current_job_uuid, provenance
from workflows.spec import HopOptions, ScreenSpec

if TYPE_CHECKING:
    from em_model.predictor import BandModel, Prediction

CHUNK = 16
"""Hops handed to a process at once: seconds of work, so that progress is seen."""


def score_settings(options: HopOptions, model: BandModel, mode: Mode) -> dict[str, Any]:
    """Return what decides a score, besides the hop, for a hop of ``mode``."""
    return {
        "model": model.name,
        "model_sha256": model.sha256,
        "mode": mode,
        "min_supercell_ang": options.min_supercell,
        "max_atoms": options.max_atoms,
    }


def barrier_id(hop_id: str, level: str, settings: dict[str, Any]) -> str:
    """Return the id of an estimate: the same settings give the same document."""
    return content_hash([hop_id, level, settings])


@job
def score(
    spec: dict[str, Any], store_uri: str, first: str, last: str, after: Any = None
) -> dict[str, int]:
    """Score the hops of the candidates from id ``first`` to ``last``.

    ``after`` makes this job wait for the hops; its value is not used.
    """
    screen = ScreenSpec.model_validate(spec)
    progress = Progress("score")
    progress.say(f"loading band model '{screen.score.model}'")
    model = _model(screen.score.model)
    done = failed = 0
    with open_store(store_uri) as store:
        todo = _waiting(store, screen, model, first, last)
        chunks = [
            Chunk(store_uri, screen.score.model, screen.hops, part, current_job_uuid())
            for part in batched(todo, min(CHUNK, screen.score.batch_size))
        ]
        with progress.track(total=len(todo), what="hops") as step:
            for chunk, (ok, bad) in map_processes(
                score_chunk,
                chunks,
                processes=available_processes(),
                on_report=progress.say,
                on_death=keep_death,
                split=lambda chunk: [replace(chunk, hop_ids=(hop_id,)) for hop_id in chunk.hop_ids],
                preload=["em_model.predictor"],
            ):
                done, failed = done + ok, failed + bad
                step(len(chunk.hop_ids))
    return {"done": done, "failed": failed}


@dataclass(frozen=True)
class Chunk:
    """Hops that one process scores."""

    store_uri: str
    model: str
    options: HopOptions
    hop_ids: tuple[str, ...]
    job_uuid: str | None


def score_chunk(chunk: Chunk, report: Report) -> tuple[int, int]:
    """Score a chunk and keep its documents; return how many are done and failed."""
    model = _model(chunk.model)
    recipe = hop_recipe(chunk.options)
    with open_store(chunk.store_uri) as store:
        hops = list(store.find(HopDoc, {"hop_id": {"$in": list(chunk.hop_ids)}}))
        hosts = {
            doc.candidate_id: host_of(doc)
            for doc in store.find(
                CandidateDoc, {"candidate_id": {"$in": sorted({h.candidate_id for h in hops})}}
            )
        }
        bands: list[Band] = []
        failures: dict[str, Failure] = {}
        for doc in hops:
            try:
                band = build_band(hosts[doc.candidate_id], Hop.from_doc(doc), recipe, mode=doc.mode)
                bands.append(replace(band, id=doc.hop_id))
            except ValueError as error:
                failures[doc.hop_id] = Failure(kind=type(error).__name__, message=str(error))
        predictions = {p.id: p for p in model.predict(bands)}
        sizes = {band.id: len(band.species) for band in bands}
        origin = provenance(
            model=ModelRef(name=model.name, sha256=model.sha256), job_uuid=chunk.job_uuid
        )
        store.put(
            _document(
                doc,
                score_settings(chunk.options, model, doc.mode),
                origin,
                predictions.get(doc.hop_id),
                failures.get(doc.hop_id),
                sizes.get(doc.hop_id),
            )
            for doc in hops
        )
    return len(predictions), len(failures)


def keep_death(chunk: Chunk, cause: str) -> tuple[int, int]:
    """Keep that scoring a hop ends the process that does it."""
    model = _model(chunk.model)
    message = f"its process ended twice by {cause}, the second time alone; is memory short?"
    failure = Failure(kind="WorkerDied", message=message)
    origin = provenance(
        model=ModelRef(name=model.name, sha256=model.sha256), job_uuid=chunk.job_uuid
    )
    with open_store(chunk.store_uri) as store:
        hops = list(store.find(HopDoc, {"hop_id": {"$in": list(chunk.hop_ids)}}))
        store.put(
            _document(
                doc, score_settings(chunk.options, model, doc.mode), origin, None, failure, None
            )
            for doc in hops
        )
    return 0, len(hops)


def _document(
    hop: HopDoc,
    settings: dict[str, Any],
    origin: Provenance,
    prediction: Prediction | None,
    failure: Failure | None,
    num_atoms: int | None,
) -> BarrierDoc:
    return BarrierDoc(
        barrier_id=barrier_id(hop.hop_id, "band", settings),
        hop_id=hop.hop_id,
        candidate_id=hop.candidate_id,
        material_id=hop.material_id,
        working_ion=hop.working_ion,
        level="band",
        status="done" if prediction else "failed",
        barrier_ev=prediction.barrier_ev if prediction else None,
        interval_90_ev=prediction.interval_90_ev if prediction else None,
        in_domain=prediction.in_domain if prediction else True,
        num_atoms=num_atoms,
        settings=settings,
        error=failure,
        provenance=origin,
    )


def _waiting(
    store: ScreenStore, screen: ScreenSpec, model: BandModel, first: str, last: str
) -> list[str]:
    """Return the hops of the batch that have no score with these settings, sorted."""
    batch = {
        "screens": screen.screen_id,
        "status": "ok",
        "candidate_id": {"$gte": first, "$lte": last},
    }
    by_mode: list[tuple[Mode, dict[str, Any]]] = [(screen.hops.mode, batch)]
    if screen.insertion:
        by_mode = [
            (screen.hops.mode, {**batch, "inserted": None}),
            ("dilute", {**batch, "inserted": {"$ne": None}}),
        ]
    wanted: dict[str, str] = {}
    for mode, criteria in by_mode:
        candidates = store.ids(CandidateDoc, criteria)
        settings = score_settings(screen.hops, model, mode)
        for hop_id in store.ids(HopDoc, {"candidate_id": {"$in": candidates}, "mode": mode}):
            wanted[barrier_id(hop_id, "band", settings)] = hop_id
    there = set(store.ids(BarrierDoc, {"barrier_id": {"$in": sorted(wanted)}}))
    return sorted(hop_id for key, hop_id in wanted.items() if key not in there)


@cache
def _model(name: str) -> BandModel:
    """Load a band model once per process."""
    # Not at the top: jobs that only make other jobs import this module, and need no torch.
    from em_model.predictor import BandModel

    return BandModel.load(name)
