"""Mixing the members and calibrating their intervals on out-of-fold predictions.

Everything here works on √barrier, where errors are of about one size from 0.05 to 5 eV.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np

KINDS: tuple[str, ...] = ("forest", "kernel")
"""Kinds of members, in the order of :attr:`Evidence.roots`."""

MIN_GROUP = 20
"""Records of an ion from which it gets a quantile of its own."""

LEVEL = 0.9
"""Wanted coverage of the intervals."""

_FLOOR = 0.03
"""Smallest √barrier: the data holds no barrier below a few meV."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the members say about n bands, in √eV.

    ``roots`` has shape (n, len(KINDS)); ``spread`` (n,) is the forest's deviation over its trees.
    """

    roots: np.ndarray
    spread: np.ndarray
    ions: tuple[str, ...]

    def rows(self, chosen: np.ndarray) -> Evidence:
        """The evidence about some of the bands (boolean mask or indices)."""
        ions = tuple(np.array(self.ions)[chosen].tolist())
        return Evidence(self.roots[chosen], self.spread[chosen], ions)


@dataclass(frozen=True)
class Calibration:
    """A mix of members and a normalised conformal interval (Lei et al., JASA 113, 1094, 2018).

    √barrier is the sum of ``shares`` times the members; its expected error is ``scale`` times
    (1, the forest's spread, the members' disagreement, √barrier); the interval reaches
    ``quantile`` expected errors to either side, with the ion's own quantile where it had
    records enough (Mondrian conformal prediction, Vovk et al. 2005).
    """

    shares: tuple[float, ...]
    scale: tuple[float, ...]
    quantile: float
    ion_quantile: dict[str, float]

    @classmethod
    def fit(cls, evidence: Evidence, barriers: np.ndarray) -> Calibration:
        """Fit to out-of-fold evidence and known barriers in eV.

        The shares are, of all that are multiples of 0.05 and add up to one, those with the
        least mean absolute error in eV.
        """
        # Not needed to predict, and slow to load.
        from scipy.optimize import nnls

        candidates = [
            tuple(i / 20 for i in parts)
            for parts in product(range(21), repeat=len(KINDS))
            if sum(parts) == 20
        ]
        errors = [np.abs(_mixed(evidence, s) ** 2 - barriers).mean() for s in candidates]
        shares = candidates[int(np.argmin(errors))]
        root = _mixed(evidence, shares)
        residual = np.abs(root - np.sqrt(np.maximum(barriers, 0.0)))
        scale, _ = nnls(_regressors(evidence, root), residual)
        score = residual / _expected(evidence, root, scale)
        ions = np.array(evidence.ions)
        own = {
            ion: _quantile(score[ions == ion])
            for ion in sorted(set(evidence.ions))
            if (ions == ion).sum() >= MIN_GROUP
        }
        return cls(shares, tuple(scale.tolist()), _quantile(score), own)

    def apply(self, evidence: Evidence) -> tuple[np.ndarray, np.ndarray]:
        """Barriers (n,) and 90 % intervals (n, 2), both in eV."""
        root = _mixed(evidence, self.shares)
        quantile = np.array([self.ion_quantile.get(ion, self.quantile) for ion in evidence.ions])
        reach = quantile * _expected(evidence, root, self.scale)
        low, high = np.maximum(root - reach, 0.0) ** 2, (root + reach) ** 2
        return root**2, np.stack([low, high], axis=1)

    def as_dict(self) -> dict[str, Any]:
        """For the model card."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Calibration:
        """From a model card."""
        return cls(
            tuple(content["shares"]),
            tuple(content["scale"]),
            float(content["quantile"]),
            dict(content["ion_quantile"]),
        )


def cross_calibrated(
    evidence: Evidence, barriers: np.ndarray, folds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Barriers and intervals of each fold by a calibration on the other folds.

    The honest figure of the whole procedure: neither members nor calibration saw the hosts.

    Returns
    -------
    tuple
        Barriers (n,) and intervals (n, 2), eV.
    """
    value, interval = np.empty(len(barriers)), np.empty((len(barriers), 2))
    for fold in np.unique(folds):
        test = folds == fold
        fitted = Calibration.fit(evidence.rows(~test), barriers[~test])
        value[test], interval[test] = fitted.apply(evidence.rows(test))
    return value, interval


def _mixed(evidence: Evidence, shares: Sequence[float]) -> np.ndarray:
    return np.maximum(evidence.roots @ np.asarray(shares), _FLOOR)


def _regressors(evidence: Evidence, root: np.ndarray) -> np.ndarray:
    apart = evidence.roots.std(axis=1)
    return np.stack([np.ones_like(root), evidence.spread, apart, root], axis=1)


def _expected(evidence: Evidence, root: np.ndarray, scale: Sequence[float]) -> np.ndarray:
    return np.asarray(np.maximum(_regressors(evidence, root) @ np.asarray(scale), 0.02))


def _quantile(score: np.ndarray) -> float:
    """The conformal quantile: the ⌈(n + 1)·LEVEL⌉-th smallest score."""
    rank = int(np.ceil((len(score) + 1) * LEVEL))
    return float(np.sort(score)[min(rank, len(score)) - 1])
