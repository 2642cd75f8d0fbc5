"""Start a dear band from the converged path of a cheap one."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from stores.documents import BarrierDoc, HopDoc
from stores.screen_store import ScreenStore
from workflows.neb_path import resampled

SAME_CELL_ANG = 1e-3
"""Cells that differ by less are the same one."""


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
