"""Relax a dear band in rounds: a cheap potential goes ahead, the dear engine corrects it.

In each round the engine is asked once at every image, the potential learns from that what it
lacks there (:mod:`workflows.neb_guide`), and the band is relaxed on the potential so corrected.
What converges are the engine's own forces; how good the potential is decides only how many rounds
it takes.
"""

from __future__ import annotations

from dataclasses import replace

from workflows.neb_band import Band
from workflows.neb_guide import INNER_SHARE, INNER_STEPS, Guide, Rounds
from workflows.neb_optimisers import band_lbfgs, band_ode_until_it_crawls
from workflows.neb_run import Run
from workflows.neb_types import NebFailure

NO_BUDGET = 10**9


def band_guided(band: Band, guide: Guide, fmax_ev_ang: float, max_rounds: int) -> bool:
    """Relax a band to a largest force; False, at the best geometry, where the guide is no help."""
    rounds = Rounds()
    for _ in range(max_rounds):
        band.get_forces()
        if band.fmax <= fmax_ev_ang:
            return True
        spiked = rounds.spiked(band.fmax)
        if rounds.spent:
            break
        assert band.known is not None
        guide.learn(
            [band.images[index] for index in band.computed],
            band.labels,
            band.known[0].evaluations,
            base=not spiked,
        )
        if spiked:
            band.back_to_best()
        stand_in = _on_guide(band, guide)
        try:
            for relaxed in (band_ode_until_it_crawls, band_lbfgs):
                if relaxed(stand_in, INNER_SHARE * fmax_ev_ang, INNER_STEPS):
                    break
                stand_in.back_to_best()
        except NebFailure:  # forces that are no numbers, far from what the potential knows
            break
        band.set_positions(rounds.shortened(band.get_positions(), stand_in.get_positions()))
    band.back_to_best()
    return False


def _on_guide(band: Band, guide: Guide) -> Band:
    """Return the same band with the guide's forces, free of charge."""
    settings = replace(band.run.settings, max_force_calls=NO_BUDGET)
    inner = [image.copy() for image in band.images[1:-1]]
    images = [band.images[0], *inner, band.images[-1]]
    stand_in = Band(images, Run(settings, guide), band.swap)
    stand_in.climb = band.climb
    return stand_in
