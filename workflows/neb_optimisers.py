"""Optimisers of ends and bands, one over all images of a band.

Ends are relaxed by a limited-memory BFGS (Nocedal, Math. Comput. 35, 773 (1980)) without line
search. ASE's own keeps pairs of negative curvature and so walks up to maxima and saddles; here
they are left out (cautious updates: Li and Fukushima, SIAM J. Optim. 11, 1054 (2001)).

Bands are relaxed by ASE's adaptive ODE solver, which needs no more force calls at the median and
is not led astray by the bands on which L-BFGS is: a NEB force is no gradient, so that what L-BFGS
learns of its curvature need not hold. But it crawls along soft valleys with stiff walls, and there
L-BFGS goes on (``benchmarks/neb.py``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
from ase.mep import NEB
from ase.mep.neb import NEBOptimizer
from ase.optimize import FIRE
from ase.optimize.sciopt import OptimizerConvergenceError

CRAWL_STEPS, CRAWL = 10, 0.85
"""The ODE solver crawls where in so many steps the largest force falls no further than to this
share."""

Forces = Callable[[np.ndarray], np.ndarray]
"""Positions, shape (n, 3) in Å, to forces, shape (n, 3) in eV/Å."""


def lbfgs(
    forces_of: Forces,
    positions: np.ndarray,
    *,
    fmax_ev_ang: float,
    max_steps: int,
    max_step_ang: float = 0.15,
    curvature_ev_ang2: float = 40.0,
    memory: int = 20,
    patience: int | None = None,
) -> bool:
    """Walk down until no atom feels more than ``fmax_ev_ang``.

    Parameters
    ----------
    forces_of
        Called once per step, for the last time at the final positions.
    positions
        Start, shape (n, 3).
    max_step_ang
        Longest displacement of an atom in one step.
    curvature_ev_ang2
        Curvature assumed before any is known.
    memory
        Pairs of steps and force changes kept.
    patience
        Give up after so many steps in which the largest force found no new low, or after a
        third of them when it is five times the lowest: that walk leads away.

    Returns
    -------
    bool
        Whether the forces are small enough.
    """
    pairs: deque[tuple[np.ndarray, np.ndarray, float]] = deque(maxlen=memory)
    x, f = positions.copy(), forces_of(positions)
    lowest, since = np.inf, 0
    for _ in range(max_steps):
        if largest(f) <= fmax_ev_ang:
            return True
        lowest, since = (largest(f), 0) if largest(f) < lowest else (lowest, since + 1)
        astray = largest(f) > 5 * lowest and patience is not None and since >= patience // 3
        if astray or since == patience:
            return False
        step = _newton_step(f, pairs, curvature_ev_ang2)
        if np.vdot(step, f) <= 0.0:
            pairs.clear()
            step = f / curvature_ev_ang2
        step *= min(1.0, max_step_ang / largest(step))
        new = x + step
        new_forces = forces_of(new)
        change = f - new_forces
        curvature = float(np.vdot(step, change))
        if curvature > 1e-3 * float(np.vdot(step, step)):
            pairs.append((step, change, 1.0 / curvature))
        x, f = new, new_forces
    return bool(largest(f) <= fmax_ev_ang)


def _newton_step(
    forces: np.ndarray,
    pairs: deque[tuple[np.ndarray, np.ndarray, float]],
    curvature_ev_ang2: float,
) -> np.ndarray:
    """Two-loop recursion: the inverse Hessian that the pairs imply, times the forces."""
    q, weights = forces.copy(), []
    for step, change, rho in reversed(pairs):
        weight = rho * float(np.vdot(step, q))
        weights.append(weight)
        q -= weight * change
    if pairs:
        _, change, rho = pairs[-1]
        # no softer than 5 eV/Å²: a long first step along a floppy mode leaves the valley
        q *= min(1.0 / (rho * float(np.vdot(change, change))), 0.2)
    else:
        q /= curvature_ev_ang2
    for (step, change, rho), weight in zip(pairs, reversed(weights), strict=True):
        q += step * (weight - rho * float(np.vdot(change, q)))
    return q


def largest(vectors: np.ndarray) -> float:
    """Length of the longest row of an (n, 3) array."""
    return float(np.linalg.norm(vectors, axis=1).max())


def band_lbfgs(band: NEB, fmax_ev_ang: float, max_steps: int) -> bool:
    """:func:`lbfgs` over all movable images of a band."""

    def forces_of(positions: np.ndarray) -> np.ndarray:
        band.set_positions(positions)
        return band.get_forces()

    return lbfgs(
        forces_of,
        band.get_positions(),
        fmax_ev_ang=fmax_ev_ang,
        max_steps=max_steps,
        max_step_ang=0.1,
        patience=36,
    )


def band_fire(band: NEB, fmax_ev_ang: float, max_steps: int) -> bool:
    """ASE's FIRE (Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006)), in steps of 0.05 Å."""
    return bool(FIRE(band, maxstep=0.05, logfile=None).run(fmax=fmax_ev_ang, steps=max_steps))


def band_ode(band: NEB, fmax_ev_ang: float, max_steps: int) -> bool:
    """ASE's adaptive ODE solver (Makri, Ortner and Kermode, J. Chem. Phys. 150, 094109 (2019))."""
    return _solved(NEBOptimizer(band, logfile=None), fmax_ev_ang, max_steps)


def _solved(solver: NEBOptimizer, fmax_ev_ang: float, max_steps: int) -> bool:
    # It calls a band solved, too, whose steps are spent.
    done = solver.run(fmax=fmax_ev_ang, steps=max_steps)
    return bool(done and solver.get_residual() <= fmax_ev_ang)


class _Impatient(NEBOptimizer):
    """The ODE solver, which gives up where it crawls."""

    def __init__(self, band: NEB) -> None:
        super().__init__(band, logfile=None)
        self.lowest: list[float] = []

    def callback(self, X: np.ndarray, F: np.ndarray | None = None) -> None:
        super().callback(X, F)
        so_far = self.lowest[-1] if self.lowest else np.inf
        self.lowest.append(min(so_far, self.get_residual()))
        before = self.lowest[-1 - CRAWL_STEPS] if len(self.lowest) > CRAWL_STEPS else np.inf
        if self.lowest[-1] > CRAWL * before:
            raise OptimizerConvergenceError("crawls")


def band_ode_until_it_crawls(band: NEB, fmax_ev_ang: float, max_steps: int) -> bool:
    """:func:`band_ode`, which gives up early."""
    return _solved(_Impatient(band), fmax_ev_ang, max_steps)


BandOptimiser = Callable[[NEB, float, int], bool]
"""Relaxes a band to a largest force (eV/Å) in so many steps at most; says whether it did."""

BAND_OPTIMISERS: dict[str, tuple[BandOptimiser, ...]] = {
    "staged": (band_ode_until_it_crawls, band_lbfgs, band_ode),
    "ode": (band_ode,),
    "lbfgs": (band_lbfgs,),
    "fire": (band_fire,),
}
"""By name, each tried from the best geometry of those before; the first is the default."""
