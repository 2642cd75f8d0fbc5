"""How sure a barrier is at each level: 90 % intervals from residuals against the literature.

A converged band says nothing about the error of its potential, so the interval comes from how
far barriers of the same model lay from literature DFT-NEB barriers, never from convergence.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from stores.documents import Interval, Level, ModelRef

CARDS = Path(__file__).parent / "data"
"""Folders of shipped potentials; each has a ``card.json`` with measured residuals."""

PUBLISHED_HALF_WIDTH_90_EV: dict[str, tuple[float, str]] = {
    "mlip": (
        0.79,
        "MACE-MP-0 with relaxed bands: MAE 0.340 eV against literature barriers (Devi et al., "
        "arXiv 2508.06436); 90 % quantile of a Laplace distribution of that MAE: ln 10 × 0.340",
    ),
    "dft": (
        0.15,
        "convention: spread of published DFT-NEB barriers of one hop over functionals, "
        "Hubbard U, charge states and cells",
    ),
}
"""Half width in eV, and its source, for models without measured residuals of their own."""


def interval_90(level: Level, model: ModelRef | None, barrier_ev: float) -> Interval:
    """90 % interval of a NEB barrier, in eV; no barrier is below zero.

    Parameters
    ----------
    level
        ``mlip`` or ``dft``; band scores bring their own interval.
    model
        Identity of the model: a shipped one has its own measured residuals, which need not lie
        evenly about zero (small potentials are too soft).
    barrier_ev
        The estimate.

    Raises
    ------
    KeyError
        ``level`` is no NEB level.
    """
    card = model_card(model.sha256) if model is not None and model.sha256 else None
    if card is not None:
        below, above = card["barrier_interval_90_ev"]
    else:
        above = PUBLISHED_HALF_WIDTH_90_EV[level][0]
        below = -above
    return (max(0.0, barrier_ev + below), barrier_ev + above)


@cache
def model_card(sha256: str) -> dict[str, Any] | None:
    """Card of the shipped potential whose weights have this hash, if there is one."""
    for path in sorted(CARDS.glob("*/card.json")):
        card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if card.get("sha256") == sha256:
            return card
    return None
