"""Selection: which hops of a screen climb to a dearer level, read from the store."""

from __future__ import annotations

from collections.abc import Iterator

from stores.documents import LEVELS, CandidateDoc, HopDoc, Level
from stores.estimates import best_estimates
from stores.ranking import MaterialData, load_materials
from stores.screen_store import open_store
from workflows.hops import Hop
from workflows.hosts import host_of
from workflows.neb_plan import NebPlan, neb_plan
from workflows.progress import Progress
from workflows.select import KnownHop, Selection, select_hops
from workflows.spec import ScreenSpec
from workflows.stages.hops import mode_of

COST_POWER: dict[Level, float] = {"mlip": 1.0, "dft": 2.5}
"""How the price of a calculation grows with its atoms: linear in a potential, plane-wave DFT
between quadratic and cubic."""


def select(screen: ScreenSpec, store_uri: str, level: Level) -> Selection:
    """Choose the hops of a screen for ``mlip`` or ``dft``.

    Only estimates of the levels below decide, so that the same screen chooses the same hops
    whether or not some of them are done already.
    """
    plan = neb_plan(screen, level)
    # Hops of inserted ions are dilute, whatever the others are: DFT charges them otherwise.
    dilute = neb_plan(screen, level, "dilute") if screen.insertion else plan
    progress = Progress("select")
    with open_store(store_uri) as store:
        ids = store.ids(CandidateDoc, {"screens": screen.screen_id, "status": "ok"})
        with progress.track(total=len(ids)) as step:

            def materials() -> Iterator[list[KnownHop]]:
                for batch in load_materials(store, ids):
                    for data in batch:
                        yield known_hops(data, screen, dilute if data.candidate.inserted else plan)
                        step()

            def fits(hop_id: str) -> bool:
                hop = next(store.find(HopDoc, {"hop_id": hop_id}))
                candidate = next(store.find(CandidateDoc, {"candidate_id": hop.candidate_id}))
                host = host_of(candidate)
                return plan.fits(host, Hop.from_doc(hop), hop.mode)

            options = screen.neb_options(level)
            assert options is not None
            selection = select_hops(
                materials(),
                dimension=screen.hops.dimension,
                top=plan.top,
                rule=options.select,
                fits=fits,
            )
    progress.say(
        f"{len(selection.hop_ids)} hops climb to {plan.title}"
        + _said(selection.num_tried, "tried already")
        + _said(selection.num_too_large, f"too large for {plan.title}")
        + _said(selection.num_over_budget, f"beyond the first {plan.top}")
    )
    return selection


def known_hops(data: MaterialData, screen: ScreenSpec, plan: NebPlan) -> list[KnownHop]:
    """Return what is known of a material's hops below the plan's level."""
    below = LEVELS[: LEVELS.index(plan.level)]
    best = best_estimates(doc for doc in data.barriers if doc.level in below)
    there = {doc.barrier_id for doc in data.barriers}
    known = []
    for hop in data.hops:
        estimate = best.get(hop.hop_id)
        if hop.mode != mode_of(data.candidate, screen.hops) or estimate is None:
            continue
        # best_estimates refuses an estimate without value or interval.
        assert estimate.barrier_ev is not None
        assert estimate.interval_90_ev is not None
        known.append(
            KnownHop(
                hop_id=hop.hop_id,
                edges=hop.edges,
                barrier_ev=estimate.barrier_ev,
                interval_90_ev=estimate.interval_90_ev,
                tried=plan.barrier_id(hop.hop_id) in there,
                cost=(estimate.num_atoms or 1) ** COST_POWER[plan.level],
            )
        )
    return known


def _said(count: int, what: str) -> str:
    return f"; {count} {what}" if count else ""
