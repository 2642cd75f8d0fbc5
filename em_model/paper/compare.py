"""All models side by side: one table, parity plots, learning curve, calibration.

A result file is what cross-validation writes: ``{"model", "folds", "seed", "predictions":
{band id: eV}}``, and where they are known ``"intervals_90": {band id: [low, high]}`` and
``"learning_curve": {records: MAE in eV}``. It holds no barriers: those come from the data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from em_model.data import Band, require_barriers
from em_model.ensemble import out_of_fold
from em_model.errors import BadInput
from em_model.evaluate import metrics
from em_model.predictor import BandModel

SHIPPED = Path(str(files("em_model") / "data"))
"""Where the results of the models trained for the project are."""

PUBLISHED: tuple[dict[str, Any], ...] = (
    {
        "model": "MODEL-3 as published",
        "n": 60,
        "r2": 0.703,
        "r2_se": 0.109,
        "mae_ev": 0.261,
        "mae_se_ev": 0.034,
        "good_accuracy": 0.80,
        "split": "the paper's 60 test paths",
    },
)
"""What arXiv 2508.06436 reports, on its own test set: not comparable with grouped folds."""


@dataclass(frozen=True, eq=False)
class Result:
    """Out-of-fold predictions of one model.

    Attributes
    ----------
    model
        Name, with the size where there are several.
    ids
        Bands predicted.
    barrier_ev, predicted_ev
        Shape (n,).
    interval_90_ev
        Shape (n, 2), or None.
    learning_curve
        Mean absolute error in eV by number of training records.
    split
        How the folds were made.
    """

    model: str
    ids: tuple[str, ...]
    barrier_ev: np.ndarray
    predicted_ev: np.ndarray
    interval_90_ev: np.ndarray | None
    learning_curve: Mapping[int, float]
    split: str


def read_results(folder: str | Path, bands: Sequence[Band]) -> list[Result]:
    """Read all result files (``crossval-*.json``) of a folder, sorted by name.

    Raises
    ------
    BadInput
        When there is none, one is no result, or it was made from other data.
    """
    folder = Path(folder)
    barrier = dict(zip((b.id for b in bands), require_barriers(bands).tolist(), strict=True))
    found = []
    for path in sorted(folder.glob("crossval-*.json")):
        try:
            content = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise BadInput(f"{path}: not JSON ({error}); remove it or make it again") from error
        found.append(_result(path, content, barrier))
    if not found:
        raise BadInput(f"{folder}: holds no result; make some with python -m em_model.paper train")
    return found


def model_result(model: BandModel, bands: Sequence[Band]) -> Result:
    """What each host-grouped part of a model says about the hosts that it has not seen.

    Mix and intervals of a fold are fitted on the other folds.

    Parameters
    ----------
    model
        A model with a member for each fold.
    bands
        The bands that it was trained on.

    Raises
    ------
    BadInput
        When these are other bands, or the model has no folds.
    """
    recipe = model.card["recipe"]
    values, intervals, _ = out_of_fold(model, bands)
    barriers = require_barriers(bands)
    return Result(
        model=model.name,
        ids=tuple(band.id for band in bands),
        barrier_ev=barriers,
        predicted_ev=values,
        interval_90_ev=intervals,
        learning_curve={},
        split=_split(recipe["folds"], recipe["split_seed"]),
    )


def scores(result: Result) -> dict[str, Any]:
    """:func:`em_model.evaluate.metrics` of a result, with its ``model`` and ``split``."""
    figures = metrics(result.predicted_ev, result.barrier_ev, result.interval_90_ev)
    return {"model": result.model, "split": result.split, **figures}


def rank(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Scores of all models, best first, and the published figures last."""
    rows = sorted((scores(r) for r in results), key=lambda row: row["mae_ev"])
    return [*rows, *PUBLISHED]


def plots(results: Sequence[Result], folder: str | Path) -> list[Path]:
    """Write parity plots, and learning curves and calibration where they are known.

    Returns
    -------
    list of pathlib.Path
        ``parity.png``, ``learning_curve.png``, ``calibration.png``, those that were written.
    """
    from matplotlib.figure import Figure

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []

    columns = min(4, len(results))
    lines = -(-len(results) // columns)
    figure = Figure(figsize=(3.2 * columns, 3.2 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flat
    top = max(float(max(r.barrier_ev.max(), r.predicted_ev.max())) for r in results) * 1.05
    for axis, result in zip(axes, results, strict=False):
        score = scores(result)
        axis.plot([0, top], [0, top], color="0.6", linewidth=0.8)
        axis.scatter(result.barrier_ev, result.predicted_ev, s=6, alpha=0.5)
        axis.set_title(
            f"{result.model}\nMAE {score['mae_ev']:.3f} eV, R² {score['r2']:.2f}", size=9
        )
        axis.set(xlim=(0, top), ylim=(0, top), aspect="equal")
    figure.supxlabel("DFT barrier (eV)")
    figure.supylabel("predicted, host unseen (eV)")
    written.append(folder / "parity.png")
    figure.savefig(written[-1], dpi=130)

    curves = [r for r in results if r.learning_curve]
    if curves:
        figure = Figure(figsize=(5, 3.6), layout="constrained")
        axis = figure.subplots()
        for result in curves:
            sizes = sorted(result.learning_curve)
            axis.plot(sizes, [result.learning_curve[n] for n in sizes], "o-", label=result.model)
        axis.set(xlabel="training bands", ylabel="MAE on unseen hosts (eV)", xscale="log")
        axis.legend(frameon=False)
        written.append(folder / "learning_curve.png")
        figure.savefig(written[-1], dpi=130)

    calibrated = [r for r in results if r.interval_90_ev is not None]
    if calibrated:
        figure = Figure(figsize=(5, 3.6), layout="constrained")
        axis = figure.subplots()
        for result in calibrated:
            axis.plot(*_coverage_by_width(result), "o-", label=result.model)
        axis.axhline(0.9, color="0.6", linewidth=0.8)
        axis.set(xlabel="width of the 90 % interval (eV)", ylabel="share inside", ylim=(0.5, 1))
        axis.legend(frameon=False)
        written.append(folder / "calibration.png")
        figure.savefig(written[-1], dpi=130)
    return written


def _result(path: Path, content: dict[str, Any], barrier: Mapping[str, float]) -> Result:
    try:
        predictions = {str(k): float(v) for k, v in content["predictions"].items()}
        intervals = content.get("intervals_90")
        curve = {int(k): float(v) for k, v in (content.get("learning_curve") or {}).items()}
        ids = tuple(sorted(predictions))
        bounds = None if intervals is None else np.array([intervals[i] for i in ids], dtype=float)
        name = str(content["model"])
        split = _split(content["folds"], content["seed"])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path}: {error}: not a cross-validation result; make it again") from error
    unknown = next((i for i in ids if i not in barrier), None)
    if unknown is not None or not ids:
        raise BadInput(f"{path}: predictions: band {unknown!r} is not in the data; name its data")
    if content.get("size") not in (None, "published"):
        name += f" ({content['size']})"
    return Result(
        model=name,
        ids=ids,
        barrier_ev=np.array([barrier[i] for i in ids]),
        predicted_ev=np.array([predictions[i] for i in ids]),
        interval_90_ev=bounds,
        learning_curve=curve,
        split=split if len(ids) == len(barrier) else f"{split}; {len(ids)} bands so far",
    )


def _split(folds: int, seed: int) -> str:
    return f"{folds} host-grouped folds, seed {seed}"


def _coverage_by_width(result: Result, groups: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Mean width and share inside, by eighths of the bands from narrow to wide."""
    assert result.interval_90_ev is not None
    low, high = result.interval_90_ev.T
    inside = (low <= result.barrier_ev) & (result.barrier_ev <= high)
    parts = np.array_split(np.argsort(high - low, kind="stable"), groups)
    parts = [part for part in parts if len(part)]
    width = np.array([(high - low)[part].mean() for part in parts])
    return width, np.array([inside[part].mean() for part in parts])
