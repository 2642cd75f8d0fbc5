"""NEB stages: MACE-NEB for a batch of hops, DFT-NEB for one hop at a time.

Both are the same work with another engine: a hop's ends are built in the plan's supercell, the
band is relaxed, and the estimate is kept at once, be it a barrier or a failure.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ase import Atoms
from jobflow import job
from pymatgen.core import Structure

from stores.documents import BarrierDoc, CandidateDoc, Failure, HopDoc, Level
from stores.errors import BadInput
from stores.screen_store import ScreenStore, open_store
from workflows.bands import build_endpoints
from workflows.hops import Hop
from workflows.neb import NebFailure, NebResult, as_atoms, run_neb
from workflows.neb_ends import StoredEnds, site_orbits
from workflows.neb_plan import NebPlan, neb_plan
from workflows.pool import Report, available_processes, map_processes
from workflows.progress import Progress
from workflows.provenance import current_job_uuid, provenance
from workflows.spec import ScreenSpec
from workflows.warm_start import mlip_path

Item = TypeVar("Item")


@job
def mace_neb(spec: dict[str, Any], store_uri: str, hop_ids: list[str]) -> dict[str, int]:
    """Run MACE-NEB for a batch of hops, spread over processes."""
    return _run_hops(spec, store_uri, "mlip", hop_ids)


@job
def dft_neb(spec: dict[str, Any], store_uri: str, hop_id: str) -> dict[str, int]:
    """Run DFT-NEB for one hop."""
    return _run_hops(spec, store_uri, "dft", [hop_id])


@dataclass(frozen=True)
class HopTask:
    """One hop for a worker process."""

    spec: dict[str, Any]
    store_uri: str
    level: Level
    hop_id: str
    job_uuid: str | None


def _run_hops(
    spec: dict[str, Any], store_uri: str, level: Level, hop_ids: Sequence[str]
) -> dict[str, int]:
    screen = ScreenSpec.model_validate(spec)
    plan = neb_plan(screen, level)
    progress = Progress(plan.stage)
    with open_store(store_uri) as store:
        ids = {plan.barrier_id(hop_id): hop_id for hop_id in hop_ids}
        if screen.insertion:
            dilute = neb_plan(screen, level, "dilute")
            among = {"hop_id": {"$in": list(hop_ids)}, "mode": "dilute"}
            alone = set(store.ids(HopDoc, among))
            ids = {(dilute if h in alone else plan).barrier_id(h): h for h in hop_ids}
        there = set(store.ids(BarrierDoc, {"barrier_id": {"$in": sorted(ids)}}))
        ends = kinds_of_ends(store, hop_ids)
    uuid = current_job_uuid()
    tasks = [
        HopTask(spec, store_uri, level, hop_id, uuid)
        for key, hop_id in ids.items()
        if key not in there
    ]
    failed = 0
    with progress.track(total=len(tasks), what="hops") as step:
        for batch in rounds(tasks, lambda task: ends[task.hop_id]):
            for _, status in map_processes(
                run_hop, batch, processes=available_processes(), on_report=progress.say
            ):
                failed += status == "failed"
                step()
    return {"done": len(tasks) - failed, "failed": failed}


def rounds(items: Iterable[Item], needs: Callable[[Item], set[Any]]) -> list[list[Item]]:
    """Split items so that no two of one round need the same thing: the first one makes it."""
    found = []
    waiting = list(items)
    while waiting:
        taken: set[Any] = set()
        now, later = [], []
        for item in waiting:
            if needs(item) & taken:
                later.append(item)
            else:
                now.append(item)
                taken |= needs(item)
        found.append(now)
        waiting = later
    return found


def kinds_of_ends(store: ScreenStore, hop_ids: Sequence[str]) -> dict[str, set[Any]]:
    """Kinds of site, by host and mode, that each hop starts or ends at."""
    hops = list(store.find(HopDoc, {"hop_id": {"$in": list(hop_ids)}}))
    hosts = sorted({hop.candidate_id for hop in hops})
    orbits = {
        candidate.candidate_id: site_orbits(Structure.from_dict(candidate.structure or {}))
        for candidate in store.find(CandidateDoc, {"candidate_id": {"$in": hosts}})
    }
    return {
        hop.hop_id: {
            (hop.candidate_id, hop.mode, int(orbits[hop.candidate_id][site])) for site in hop.sites
        }
        for hop in hops
    }


def run_hop(task: HopTask, report: Report) -> str:
    """Compute and keep one estimate; return its status.

    Raises
    ------
    BadInput
        The engine cannot run at all; anything that goes wrong with this hop alone is a
        failed document instead.
    """
    screen = ScreenSpec.model_validate(task.spec)
    with open_store(task.store_uri) as store:
        hop = next(store.find(HopDoc, {"hop_id": task.hop_id}))
        plan = neb_plan(screen, task.level, hop.mode)
        candidate = next(store.find(CandidateDoc, {"candidate_id": hop.candidate_id}))
        name = f"{candidate.formula} {hop.length_ang:.2f} Å"
        folder = Path.cwd() / f"{plan.level}_{hop.hop_id}"
        started = time.monotonic()
        result: NebResult | None = None
        failure: Failure | None = None
        images: Sequence[Any] = ()
        force_calls = None
        num_atoms = None
        try:
            host = Structure.from_dict(candidate.structure or {})
            initial, final = map(
                as_atoms, build_endpoints(host, Hop.from_doc(hop), plan.recipe, hop.mode)
            )
            num_atoms = len(initial)
            orbits = site_orbits(host)
            ends = StoredEnds(
                store,
                [candidate.candidate_id, plan.settings],
                (int(orbits[hop.sites[0]]), int(orbits[hop.sites[1]])),
                initial,
                final,
                hop.mode,
            )
            cheap = None
            if plan.level == "dft":
                cheap = mlip_path(store, hop, initial, plan.neb.images)
            result = run_neb(
                initial,
                final,
                plan.engine,
                plan.neb,
                folder=folder,
                guess=cheap,
                ends=ends,
                progress=lambda state: report(f"{name}: {state}"),
            )
            images, force_calls = result.images, result.force_calls
        except BadInput:
            raise
        except NebFailure as error:
            failure = Failure(kind=error.kind, message=str(error), folder=str(folder))
            images, force_calls = error.images, error.force_calls
        except Exception as error:
            # Whatever else a calculator throws belongs to this hop alone: the screen goes on.
            message = " ".join(str(error).split()) or repr(error)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
            failure = Failure(kind=type(error).__name__, message=message, folder=str(folder))
        doc = _document(hop, plan, result, failure, task.job_uuid, time.monotonic() - started)
        doc.num_atoms, doc.force_calls = num_atoms, force_calls
        if images:
            doc.blob_id = doc.barrier_id
            store.save_blob(doc.barrier_id, {"images": [_frame(image) for image in images]})
        store.put([doc])
    return doc.status


def _document(
    hop: HopDoc,
    plan: NebPlan,
    result: NebResult | None,
    failure: Failure | None,
    job_uuid: str | None,
    wall_s: float,
) -> BarrierDoc:
    identity = plan.engine.identity()
    doc = BarrierDoc(
        barrier_id=plan.barrier_id(hop.hop_id),
        hop_id=hop.hop_id,
        candidate_id=hop.candidate_id,
        material_id=hop.material_id,
        working_ion=hop.working_ion,
        level=plan.level,
        status="done" if result else "failed",
        label=plan.label,
        settings=plan.settings,
        error=failure,
        provenance=provenance(model=identity, job_uuid=job_uuid, wall_s=round(wall_s, 3)),
    )
    if result:
        doc.barrier_ev = result.barrier_ev
        doc.interval_90_ev = plan.interval_90_ev(result.barrier_ev)
        doc.forward_ev, doc.backward_ev = result.forward_ev, result.backward_ev
        doc.span_ev, doc.profile = result.span_ev, result.profile
        doc.converged, doc.warnings = result.converged, result.warnings
    return doc


def _frame(image: Atoms) -> dict[str, Any]:
    """Return an image as plain lists: species, cell and positions in Å, energy in eV."""
    frame: dict[str, Any] = {
        "species": image.get_chemical_symbols(),
        "cell_ang": image.cell.tolist(),
        "positions_ang": image.positions.tolist(),
    }
    if image.calc is not None:
        frame["energy_ev"] = image.calc.results.get("energy")
    return frame
