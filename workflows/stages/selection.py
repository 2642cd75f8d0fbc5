"""Selection: which hops of a screen climb to a dearer level, read from the store."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from stores.documents import LEVELS, BarrierDoc, CandidateDoc, HopDoc, Level
from stores.ranking import best_estimates
from stores.screen_store import ScreenStore, open_store
from workflows.progress import Progress
from workflows.select import KnownHop, Selection, select_hops
from workflows.spec import ScreenSpec
from workflows.stages.neb import NebPlan, neb_plan


def select(screen: ScreenSpec, store_uri: str, level: Level) -> Selection:
    """Choose the hops of a screen for ``mlip`` or ``dft``.

    Only estimates of the levels below decide, so that the same screen chooses the same hops
    whether or not some of them are done already.
    """
    plan = neb_plan(screen, level)
    with open_store(store_uri) as store:
        ids = store.ids(CandidateDoc, {"screens": screen.screen_id, "status": "ok"})
        selection = select_hops(
            (known_hops(store, candidate_id, screen, plan) for candidate_id in ids),
            dimension=screen.hops.dimension,
            top=plan.top,
        )
    Progress("select").say(
        f"{len(selection.hop_ids)} hops climb to {plan.title}"
        + _said(selection.num_tried, "tried already")
        + _said(selection.num_too_large, f"too large for {plan.title}")
        + _said(selection.num_over_budget, f"beyond the first {plan.top}")
    )
    return selection


def known_hops(
    store: ScreenStore, candidate_id: str, screen: ScreenSpec, plan: NebPlan
) -> list[KnownHop]:
    """Return what is known of a candidate's hops below the plan's level."""
    hops = list(
        store.find(HopDoc, {"candidate_id": candidate_id, "mode": screen.hops.mode})
    )
    estimates: dict[str, list[BarrierDoc]] = defaultdict(list)
    for doc in store.find(BarrierDoc, {"candidate_id": candidate_id}):
        estimates[doc.hop_id].append(doc)
    below = LEVELS[: LEVELS.index(plan.level)]
    candidate: Any = None
    known = []
    for hop in hops:
        best = best_estimates(d for d in estimates[hop.hop_id] if d.level in below).get(hop.hop_id)
        if best is None or best.barrier_ev is None or best.interval_90_ev is None:
            continue
        if candidate is None and plan.max_atoms is not None:
            candidate = next(store.find(CandidateDoc, {"candidate_id": candidate_id}))
        known.append(
            KnownHop(
                hop_id=hop.hop_id,
                edges=hop.edges,
                barrier_ev=best.barrier_ev,
                interval_90_ev=best.interval_90_ev,
                tried=any(
                    d.barrier_id == plan.barrier_id(hop.hop_id) for d in estimates[hop.hop_id]
                ),
                fits=plan.fits(candidate, hop),
            )
        )
    return known


def _said(count: int, what: str) -> str:
    return f"; {count} {what}" if count else ""
