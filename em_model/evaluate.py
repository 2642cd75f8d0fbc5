"""Figures of merit of predicted barriers, as in arXiv 2508.06436, and their uncertainty."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from em_model.breakdown import by_group, scenarios, told_apart
from em_model.data import Band, require_barriers
from em_model.predictor import Prediction


class Predictor(Protocol):
    """What answers for bands: a model of ours or an imported checkpoint."""

    @property
    def name(self) -> str:
        """Name of the model."""

    @property
    def sha256(self) -> str:
        """Hash of its weights."""

    def predict(
        self, bands: Sequence[Band], batch_size: int, progress: Callable[[int], None] | None
    ) -> list[Prediction]:
        """Predict barriers, in the order of the bands."""


GOOD_EV = 0.65
"""A barrier of at most this counts as good."""


def r_squared(predicted: np.ndarray, known: np.ndarray) -> float:
    """Coefficient of determination; NaN when all known values are equal."""
    spread = float(((known - known.mean()) ** 2).sum())
    return 1.0 - float(((predicted - known) ** 2).sum()) / spread if spread > 0 else float("nan")


def metrics(
    predicted: np.ndarray,
    known: np.ndarray,
    interval: np.ndarray | None = None,
    *,
    threshold_ev: float = GOOD_EV,
    resamples: int = 1000,
    sample_size: int = 60,
    seed: int = 0,
) -> dict[str, Any]:
    """R², MAE, RMSE with bootstrap standard errors, and good/bad classification.

    Parameters
    ----------
    predicted, known
        Barriers in eV, shape (n,).
    interval
        90 % intervals in eV, shape (n, 2).
    threshold_ev
        Largest barrier that counts as good.
    resamples, sample_size
        The standard errors are deviations over this many samples of this size, drawn with
        replacement (1,000 × 60 in the paper).
    seed
        Of the bootstrap.

    Returns
    -------
    dict
        Keys as printed by ``hopscreen em evaluate``; None where a figure is undefined (R² of
        one record, precision when nothing was predicted good).
    """
    error = predicted - known
    draws = np.random.default_rng(seed).integers(len(known), size=(resamples, sample_size))
    drawn, target = predicted[draws], known[draws]
    residual = ((drawn - target) ** 2).sum(axis=1)
    spread = ((target - target.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    r2 = 1.0 - residual[spread > 0] / spread[spread > 0]
    good, called = known <= threshold_ev, predicted <= threshold_ev
    hits = int((good & called).sum())
    covered = None
    if interval is not None:
        covered = float(((known >= interval[:, 0]) & (known <= interval[:, 1])).mean())
    out: dict[str, Any] = {
        "n": len(known),
        "r2": r_squared(predicted, known),
        "mae_ev": float(np.abs(error).mean()),
        "rmse_ev": float(np.sqrt((error**2).mean())),
        "r2_se": float(r2.std()) if len(r2) else None,
        "mae_se_ev": float(np.abs(drawn - target).mean(axis=1).std()),
        "median_error_ev": float(np.median(np.abs(error))),
        "threshold_ev": threshold_ev,
        "good_accuracy": float((good == called).mean()),
        "good_precision": hits / int(called.sum()) if called.any() else None,
        "good_recall": hits / int(good.sum()) if good.any() else None,
        "confusion": {
            "good_called_good": hits,
            "good_called_bad": int((good & ~called).sum()),
            "bad_called_good": int((~good & called).sum()),
            "bad_called_bad": int((~good & ~called).sum()),
        },
        "interval_coverage_90": covered,
    }
    if interval is not None:
        out["interval_width_ev"] = float(np.median(interval[:, 1] - interval[:, 0]))
    # JSON has no NaN.
    return {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in out.items()}


def evaluate(
    model: Predictor,
    bands: Sequence[Band],
    *,
    training: Sequence[Band] | None = None,
    threshold_ev: float = GOOD_EV,
    batch_size: int = 64,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Predict bands with known barriers and say how well that went.

    Parameters
    ----------
    model, bands
        What predicts, and what for.
    training
        What the model was trained on: errors by scenario are then added
        (:data:`em_model.breakdown.SCENARIOS`).
    threshold_ev
        Largest barrier that counts as good.
    batch_size, progress
        See :meth:`em_model.predictor.BandModel.predict`.

    Raises
    ------
    BadInput
        When a band has no barrier or not five sites.
    """
    known = require_barriers(bands)
    begun = time.perf_counter()
    predictions = model.predict(bands, batch_size, progress)
    seconds = time.perf_counter() - begun
    values = np.array([p.barrier_ev for p in predictions])
    intervals = None
    if all(p.interval_90_ev is not None for p in predictions):
        intervals = np.array([p.interval_90_ev for p in predictions])
    kinds = {
        "by_structure_class": [band.structure_class for band in bands],
        "by_working_ion": [band.working_ion for band in bands],
    }
    if training is not None:
        kinds["by_scenario"] = scenarios(bands, training).tolist()
    return {
        **metrics(values, known, intervals, threshold_ev=threshold_ev),
        "paths_told_apart": told_apart(values, known, [str(band.host) for band in bands]),
        **{name: by_group(values, known, groups) for name, groups in kinds.items()},
        "in_domain": sum(p.in_domain for p in predictions),
        "paths_per_s": len(bands) / seconds,
        "model": model.name,
        "model_sha256": model.sha256,
    }
