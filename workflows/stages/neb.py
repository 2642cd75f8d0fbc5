"""NEB stages: MACE-NEB for a batch of hops, DFT-NEB for one hop at a time.

Both are the same work with another engine: a hop's ends are built in the plan's supercell, the
band is relaxed, and the estimate is kept at once, be it a barrier or a failure.
"""

from __future__ import annotations

import os
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from ase import Atoms
from jobflow import job

from stores.documents import BarrierDoc, CandidateDoc, Failure, HopDoc, Level
from stores.errors import BadInput
from stores.residuals import residuals
from stores.screen_store import ScreenStore, open_store
from workflows.bands import build_endpoints
from workflows.claims import claimed, release, wait_for_others
from workflows.engines import Engine
from workflows.engines.forces import Forces, forces_of, side_by_side
from workflows.faults import is_of_the_machine, patiently
from workflows.hops import Hop
from workflows.hosts import host_of
from workflows.neb import NebFailure, NebResult, as_atoms, run_neb
from workflows.neb_ends import StoredEnds, site_orbits
from workflows.neb_plan import NebPlan, neb_plan
from workflows.pool import Report, available_processes, map_processes
from workflows.progress import Progress
from workflows.provenance import current_job_uuid, provenance
from workflows.spec import ScreenSpec
from workflows.stages.planned import planned_ids
from workflows.warm_start import starting_path

Item = TypeVar("Item")

ELSEWHERE = "elsewhere"
"""Status of a hop that another job is at."""


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
    barrier_id: str

    @property
    def owner(self) -> str:
        """Who claims the hop."""
        return self.job_uuid or f"process {os.getpid()}"


def _run_hops(
    spec: dict[str, Any], store_uri: str, level: Level, hop_ids: Sequence[str]
) -> dict[str, int]:
    screen = ScreenSpec.model_validate(spec)
    plan = neb_plan(screen, level)
    progress = Progress(plan.stage)
    with open_store(store_uri) as store:
        ids = planned_ids(store, screen, level, hop_ids)
        there = set(store.ids(BarrierDoc, {"barrier_id": {"$in": sorted(ids)}}))
        ends = kinds_of_ends(store, hop_ids)
    uuid = current_job_uuid()
    tasks = [
        HopTask(spec, store_uri, level, hop_id, uuid, key)
        for key, hop_id in ids.items()
        if key not in there
    ]
    # A GPU takes many hops in one batch, cores one hop each.
    batched = getattr(plan.engine, "in_batches", False)
    done: Counter[str] = Counter()
    with progress.track(total=len(tasks), what="hops") as step:
        while tasks:
            elsewhere: list[HopTask] = []
            for batch in rounds(tasks, lambda task: ends[task.hop_id]):
                groups = [batch] if batched else [[task] for task in batch]
                for group, statuses in map_processes(
                    run_group,
                    groups,
                    processes=available_processes(),
                    on_report=progress.say,
                    on_death=keep_death,
                    split=lambda group: [[task] for task in group],
                ):
                    for task, status in zip(group, statuses, strict=True):
                        if status == ELSEWHERE:
                            elsewhere.append(task)
                            continue
                        done[status] += 1
                        step()
            tasks = elsewhere
            if tasks:
                keys = [task.barrier_id for task in tasks]
                wait_for_others(store_uri, keys, tasks[0].owner, progress.say)
    if level == "dft" and done["done"]:
        say_what_dft_says(store_uri, progress)
    return {"done": done["done"], "failed": done["failed"]}


def say_what_dft_says(store_uri: str, progress: Progress) -> None:
    """Say how the cheaper levels stand against the store's DFT results, these included.

    Nothing is kept: the ranking's calibration and ``hopscreen em finetune --store`` read the
    results themselves.
    """
    with open_store(store_uri) as store:
        for row in residuals(store):
            if row.dear == "dft":
                progress.say(
                    f"{row.cheap} beside DFT on {row.n} hops: mean error {row.mae_ev:.3f} eV, "
                    f"bias {-row.bias_ev:+.3f} eV, {row.coverage_90:.0%} inside its 90 % intervals"
                )


def run_group(tasks: Sequence[HopTask], report: Report) -> list[str]:
    """Compute and keep the estimates of hops, side by side where there are several."""
    if len(tasks) == 1:
        return [run_claimed(tasks[0], report)]
    engine = neb_plan(ScreenSpec.model_validate(tasks[0].spec), tasks[0].level).engine
    works = [partial(run_claimed, task, report) for task in tasks]
    return side_by_side(works, forces_of(engine))


def run_claimed(task: HopTask, report: Report, forces: Forces | None = None) -> str:
    """Compute one estimate, unless another job is at it or has just kept it; return its status."""
    with (
        open_store(task.store_uri) as store,
        claimed(store, task.barrier_id, task.owner, level=task.level, hop_id=task.hop_id) as mine,
    ):
        if not mine:
            return ELSEWHERE
        kept = store.get(BarrierDoc, barrier_id=task.barrier_id)
        return kept.status if kept else run_hop(task, report, forces)


def keep_death(tasks: Sequence[HopTask], cause: str) -> list[str]:
    """Keep that computing a hop ends the process that does it."""
    [task] = tasks
    with open_store(task.store_uri) as store:
        hop = next(store.find(HopDoc, {"hop_id": task.hop_id}))
        plan = neb_plan(ScreenSpec.model_validate(task.spec), task.level, hop.mode)
        failure = Failure(
            kind="WorkerDied",
            message=f"its process ended twice by {cause}, the second time alone; is memory short?",
            folder=str(Path.cwd() / f"{plan.level}_{hop.hop_id}"),
        )
        store.put([_document(hop, plan, None, failure, task.job_uuid, 0.0)])
        release(store, task.barrier_id, task.owner)
    return ["failed"]


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
        candidate.candidate_id: site_orbits(host_of(candidate))
        for candidate in store.find(CandidateDoc, {"candidate_id": {"$in": hosts}})
    }
    return {
        hop.hop_id: {
            (hop.candidate_id, hop.mode, int(orbits[hop.candidate_id][site])) for site in hop.sites
        }
        for hop in hops
    }


def run_hop(task: HopTask, report: Report, forces: Forces | None = None) -> str:
    """Compute and keep one estimate; return its status.

    ``forces``, shared with other hops, are asked instead of the engine.

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
        guide: Engine | None = None
        try:
            host = host_of(candidate)
            initial, final = map(
                as_atoms, build_endpoints(host, Hop.from_doc(hop), plan.recipe, hop.mode)
            )
            num_atoms = len(initial)
            guide = plan.guide_for(initial)
            orbits = site_orbits(host)
            ends = StoredEnds(
                store,
                [candidate.candidate_id, plan.settings],
                (int(orbits[hop.sites[0]]), int(orbits[hop.sites[1]])),
                initial,
                final,
                hop.mode,
            )
            result = run_neb(
                initial,
                final,
                plan.engine,
                plan.neb,
                folder=folder,
                guess=starting_path(plan, store, hop, initial, final),
                guide=guide,
                ends=ends,
                forces=forces,
                progress=lambda state: report(f"{name}: {state}"),
            )
            images, force_calls = result.images, result.force_calls
        except BadInput:
            raise
        except NebFailure as error:
            failure = Failure(kind=error.kind, message=str(error), folder=str(folder))
            images, force_calls = error.images, error.force_calls
        except Exception as error:
            if is_of_the_machine(error):
                raise
            # Whatever else a calculator throws belongs to this hop alone: the screen goes on.
            message = " ".join(str(error).split()) or repr(error)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
            failure = Failure(kind=type(error).__name__, message=message, folder=str(folder))
        doc = _document(hop, plan, result, failure, task.job_uuid, time.monotonic() - started)
        doc.num_atoms, doc.force_calls = num_atoms, force_calls
        if guide is not None:  # the engine's forces decide, so it is no part of the id
            identity = guide.identity()
            doc.settings["guide"] = {"name": identity.name, "sha256": identity.sha256}

        def keep() -> None:
            if images:
                doc.blob_id = doc.barrier_id
                store.save_blob(doc.barrier_id, _path(images, result))
            store.put([doc])

        patiently(keep, report)
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


def _path(images: Sequence[Atoms], result: NebResult | None) -> dict[str, Any]:
    """Return a path as plain lists, with its minima and the mode of its saddle."""
    content: dict[str, Any] = {"images": [_frame(image) for image in images]}
    if result is not None:
        content["minima"] = result.minima
    if result is not None and result.saddle is not None:
        content["saddle"] = {
            "index": result.saddle.index,
            "mode": result.saddle.mode.tolist(),
            "curvature_ev_ang2": result.saddle.curvature_ev_ang2,
        }
    return content


def _frame(image: Atoms) -> dict[str, Any]:
    """Return an image as plain lists: species, cell and positions in Å, energy in eV, forces."""
    frame: dict[str, Any] = {
        "species": image.get_chemical_symbols(),
        "cell_ang": image.cell.tolist(),
        "positions_ang": image.positions.tolist(),
    }
    if image.calc is not None:
        frame["energy_ev"] = image.calc.results.get("energy")
        forces = image.calc.results.get("forces")
        frame["forces_ev_ang"] = None if forces is None else np.asarray(forces).tolist()
    return frame
