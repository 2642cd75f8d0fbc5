"""Mixing the members and calibrating their intervals on out-of-fold predictions.

Everything here works on √barrier, where errors are of about one size from 0.05 to 5 eV.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MIN_GROUP = 20
"""Records of an ion from which it gets a quantile of its own."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the members say about n bands; ``network`` is NaN where there is none.

    All arrays have shape (n,) and are in √eV: the networks' mean, the forest's mean and its
    deviation over trees.
    """

    network: np.ndarray
    forest: np.ndarray
    forest_std: np.ndarray
    ions: tuple[str, ...]

    def rows(self, index: np.ndarray) -> Evidence:
        """The evidence about some of the bands."""
        return Evidence(
            self.network[index],
            self.forest[index],
            self.forest_std[index],
            tuple(self.ions[i] for i in np.flatnonzero(index)),
        )


@dataclass(frozen=True)
class Calibration:
    """A mix of members and a normalised split-conformal interval (Lei et al., JASA 2018).

    √barrier is ``share``·network + (1 − share)·forest; its expected error is ``scale`` times
    (1, forest's deviation, disagreement of the members, √barrier); the interval reaches
    ``quantile`` expected errors to either side, with the ion's own quantile where it had
    records enough (Mondrian conformal prediction, Vovk et al. 2005).
    """

    share: float
    scale: tuple[float, ...]
    quantile: float
    ion_quantile: dict[str, float]

    @classmethod
    def fit(
        cls, evidence: Evidence, barriers: np.ndarray, share: float | None = None
    ) -> Calibration:
        """Fit to out-of-fold evidence and known barriers in eV.

        Parameters
        ----------
        share
            Of the networks; None takes, of 0, 0.05 … 1, the one with the least mean error in eV.
        """
        # Not needed to predict, and slow to load.
        from scipy.optimize import nnls

        if share is None:
            shares = np.linspace(0.0, 1.0, 21) if np.isfinite(evidence.network).all() else [0.0]
            errors = [np.abs(_mixed(evidence, s) ** 2 - barriers).mean() for s in shares]
            share = float(shares[int(np.argmin(errors))])
        root = _mixed(evidence, share)
        residual = np.abs(root - np.sqrt(np.maximum(barriers, 0.0)))
        scale, _ = nnls(_regressors(evidence, root), residual)
        score = residual / _expected(evidence, root, scale)
        ions = np.array(evidence.ions)
        own = {
            ion: _quantile(score[ions == ion])
            for ion in sorted(set(evidence.ions))
            if (ions == ion).sum() >= MIN_GROUP
        }
        return cls(share, tuple(scale.tolist()), _quantile(score), own)

    def apply(self, evidence: Evidence) -> tuple[np.ndarray, np.ndarray]:
        """Barriers (n,) and 90 % intervals (n, 2), both in eV."""
        root = _mixed(evidence, self.share)
        reach = _expected(evidence, root, np.array(self.scale)) * np.array(
            [self.ion_quantile.get(ion, self.quantile) for ion in evidence.ions]
        )
        low, high = np.maximum(root - reach, 0.0) ** 2, (root + reach) ** 2
        return root**2, np.stack([low, high], axis=1)

    def as_dict(self) -> dict[str, Any]:
        """For the model card."""
        return {
            "share": self.share,
            "scale": list(self.scale),
            "quantile": self.quantile,
            "ion_quantile": self.ion_quantile,
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Calibration:
        """From a model card."""
        return cls(
            float(content["share"]),
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


def _mixed(evidence: Evidence, share: float) -> np.ndarray:
    # A share of nothing must not let a NaN through.
    network = np.nan_to_num(evidence.network) if share == 0 else evidence.network
    return np.maximum(share * network + (1 - share) * evidence.forest, 0.03)


def _regressors(evidence: Evidence, root: np.ndarray) -> np.ndarray:
    apart = np.nan_to_num(np.abs(evidence.network - evidence.forest))
    return np.stack([np.ones_like(root), evidence.forest_std, apart, root], axis=1)


def _expected(
    evidence: Evidence, root: np.ndarray, scale: Sequence[float] | np.ndarray
) -> np.ndarray:
    return np.asarray(np.maximum(_regressors(evidence, root) @ np.asarray(scale), 0.02))


def _quantile(score: np.ndarray, level: float = 0.9) -> float:
    """The conformal quantile: the ⌈(n + 1)·level⌉-th smallest score."""
    rank = int(np.ceil((len(score) + 1) * level))
    return float(np.sort(score)[min(rank, len(score)) - 1])
