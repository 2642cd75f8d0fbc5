"""Start a dear band from the converged path of a cheap potential."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from ase import Atoms

from stores.documents import BarrierDoc, HopDoc
from stores.screen_store import ScreenStore
from workflows.engines import Engine
from workflows.neb import NebFailure, NebSettings, run_neb
from workflows.neb_path import images_for, resampled, straight
from workflows.neb_plan import NebPlan

SAME_CELL_ANG = 1e-3
"""Cells that differ by less are the same one."""

CHEAP_CALLS = 2000
"""Budget of a potential's own band."""


def starting_path(
    plan: NebPlan, store: ScreenStore, hop: HopDoc, initial: Atoms, final: Atoms
) -> list[Atoms] | None:
    """Choose where the band of a hop begins; None leaves it to IDPP.

    With ``start: mlip`` it is the store's converged path of a potential, or, where the store has
    none in this supercell, that of the plan's guide, relaxed on the spot.
    """
    if plan.start == "linear":
        return straight(initial, final, plan.neb.images or images_for(initial, final))
    if plan.start == "idpp":
        return None
    known = mlip_path(store, hop, initial, plan.neb.images)
    guide = plan.guide_for(initial)
    if known is not None or guide is None:
        return known
    return own_path(guide, initial, final, plan.neb)


def own_path(
    guide: Engine, initial: Atoms, final: Atoms, settings: NebSettings
) -> list[Atoms] | None:
    """Relax a potential's own band of a hop; None where it has none."""
    cheap = replace(settings, max_force_calls=CHEAP_CALLS, max_steps=CHEAP_CALLS)
    try:
        path = run_neb(initial, final, guide, cheap).images
    except NebFailure:
        return None
    return path if settings.images is None else resampled(path, settings.images)


def mlip_path(
    store: ScreenStore, hop: HopDoc, initial: Atoms, images: int | None = None
) -> list[Atoms] | None:
    """Look for a converged MLIP path of a hop in the same supercell.

    Parameters
    ----------
    store
        Holds the estimates and, as blobs, their images.
    hop
        The hop.
    initial
        Initial end of the band to come; cell and site order have to be those of the path.
    images
        Movable images wanted; None leaves the path its own.

    Returns
    -------
    list of Atoms or None
        The path, ends included, of the latest such estimate; None where there is none.
    """
    criteria = {"hop_id": hop.hop_id, "level": "mlip", "status": "done", "converged": True}
    found = sorted(store.find(BarrierDoc, criteria), key=lambda doc: doc.provenance.created_at)
    for doc in reversed(found):
        if doc.blob_id is None:
            continue
        path = [
            Atoms(frame["species"], frame["positions_ang"], cell=frame["cell_ang"], pbc=True)
            for frame in store.load_blob(doc.blob_id)["images"]
        ]
        same_cell = np.allclose(path[0].cell[:], initial.cell[:], atol=SAME_CELL_ANG)
        if same_cell and list(path[0].symbols) == list(initial.symbols):
            return path if images is None else resampled(path, images)
    return None
