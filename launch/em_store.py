"""Training bands from a screen's store: its DFT-NEB results, drawn as the band model sees hops."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from em_model.errors import BadInput
from launch.output import say

if TYPE_CHECKING:
    from em_model.data import Band


def store_bands(uri: str, *, weight: float = 1.0, demo: bool = False) -> list[Band]:
    """Bands of a store's finished DFT-NEB calculations, sorted by barrier id.

    Results that carry a label of warning (``demo``) are left out unless asked for: they are not
    what a barrier is meant to be. Hops that no longer fit a supercell are left out as well.

    Parameters
    ----------
    uri
        Folder of an embedded store, or ``mongodb://host/database``.
    weight
        Of each of these bands in training, beside 1 for the literature's.
    demo
        Take results labelled ``demo`` as well.

    Raises
    ------
    BadInput
        When the store is not there or holds no such result.
    """
    from stores.documents import BarrierDoc, CandidateDoc, HopDoc
    from stores.screen_store import open_store
    from workflows.bands import SupercellRecipe, build_band
    from workflows.hops import Hop
    from workflows.hosts import host_of

    labels: list[str | None] = [None, "demo"] if demo else [None]
    criteria = {"level": "dft", "status": "done"}
    bands, unfit = [], 0
    with open_store(uri, create=False) as store:
        results = sorted(store.find(BarrierDoc, criteria), key=lambda doc: doc.barrier_id)
        for result in (doc for doc in results if doc.label in labels):
            hop = store.get(HopDoc, hop_id=result.hop_id)
            host = store.get(CandidateDoc, candidate_id=result.candidate_id)
            if result.barrier_ev is None or hop is None or host is None or host.structure is None:
                continue
            try:
                band = build_band(
                    host_of(host),
                    Hop.from_doc(hop),
                    SupercellRecipe(),
                    mode=hop.mode,
                )
            except ValueError:
                unfit += 1
                continue
            bands.append(
                replace(
                    band,
                    id=result.barrier_id,
                    barrier_ev=result.barrier_ev,
                    system=result.material_id,
                    weight=weight,
                    added=True,
                )
            )
    if unfit:
        say(f"{uri}: {unfit} DFT-NEB results left out: their hops fit no supercell of the recipe")
    if not bands:
        raise BadInput(
            f"{uri}: holds no finished DFT-NEB result to learn from (demo results count only "
            "with --with-demo); run the dft_neb stage first"
        )
    return bands
