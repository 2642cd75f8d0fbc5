"""All models side by side: scores under the same folds, and what the paper reports.

A result file is what cross-validation writes: ``{"model", "split", "folds", "seed", "records",
"predictions": {band id: eV}}`` and, where they are known, ``"intervals_90": {band id: [low,
high]}``. ``split`` says how the folds were dealt (:func:`em_model.data.deal_folds`), ``records``
how many bands of a training part were learned from (a point of a learning curve), null for all.
It holds no barriers: those come from the data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from em_model.breakdown import by_group, scenarios, told_apart
from em_model.data import Band, deal_folds, require_barriers
from em_model.ensemble import out_of_fold
from em_model.errors import BadInput
from em_model.evaluate import GOOD_EV, metrics
from em_model.predictor import BandModel

SHIPPED = Path(str(files("em_model") / "data"))
"""Where the results of the models trained for the project are."""

REFERENCE = "MODEL-3"
"""Errors are also given as multiples of this model's on the same bands; of the best training of
it, where there are several."""

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
    bands
        Bands predicted.
    predicted_ev
        Shape (n,).
    interval_90_ev
        Shape (n, 2), or None.
    fold_of
        Fold of every band of the data, by id.
    split, folds, seed
        How the folds were dealt.
    records
        Training bands of a fold that were learned from, None for all.
    """

    model: str
    bands: tuple[Band, ...]
    predicted_ev: np.ndarray
    interval_90_ev: np.ndarray | None
    fold_of: Mapping[str, int]
    split: str
    folds: int
    seed: int
    records: int | None = None

    @property
    def barrier_ev(self) -> np.ndarray:
        """Known barriers, shape (n,)."""
        return require_barriers(self.bands)

    @property
    def description(self) -> str:
        """How the folds were dealt, and whether any are missing, for people."""
        dealt = "host-grouped folds" if self.split == "hosts" else "folds dealt by path"
        done = sorted({self.fold_of[band.id] for band in self.bands})
        every = set(self.fold_of.values())
        only = "" if set(done) == every else f", of these only {', '.join(map(str, done))}"
        return f"{self.folds} {dealt}, seed {self.seed}{only}"

    def on(self, ids: set[str]) -> Result:
        """The same on some of its bands."""
        keep = [i for i, band in enumerate(self.bands) if band.id in ids]
        return replace(
            self,
            bands=tuple(self.bands[i] for i in keep),
            predicted_ev=self.predicted_ev[keep],
            interval_90_ev=None if self.interval_90_ev is None else self.interval_90_ev[keep],
        )


def read_results(folder: str | Path, bands: Sequence[Band]) -> list[Result]:
    """Read all result files (``crossval-*.json``) of a folder, sorted by name.

    Raises
    ------
    BadInput
        When there is none, one is no result, or it was made from other data.
    """
    folder = Path(folder)
    known = {band.id: band for band in bands}
    require_barriers(bands)
    found = []
    for path in sorted(folder.glob("crossval-*.json")):
        try:
            content = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise BadInput(f"{path}: not JSON ({error}); remove it or make it again") from error
        found.append(_result(path, content, known))
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
    values, intervals, fold_of = out_of_fold(model, bands)
    return Result(
        model=model.name,
        bands=tuple(bands),
        predicted_ev=values,
        interval_90_ev=intervals,
        fold_of=_by_id(bands, fold_of),
        split="hosts",
        folds=recipe["folds"],
        seed=recipe["split_seed"],
    )


def scores(result: Result, threshold_ev: float = GOOD_EV) -> dict[str, Any]:
    """Figures of merit of a result.

    Returns
    -------
    dict
        :func:`em_model.evaluate.metrics`, and ``model``, ``split``, ``paths_told_apart``,
        ``by_structure_class``.
    """
    known = result.barrier_ev
    figures = metrics(result.predicted_ev, known, result.interval_90_ev, threshold_ev=threshold_ev)
    classes = [band.structure_class for band in result.bands]
    hosts = [str(band.host) for band in result.bands]
    return {
        "model": result.model,
        "split": result.description,
        **figures,
        "paths_told_apart": told_apart(result.predicted_ev, known, hosts),
        "by_structure_class": by_group(result.predicted_ev, known, classes, least=10),
    }


def rank(
    results: Sequence[Result], bands: Sequence[Band], threshold_ev: float = GOOD_EV
) -> list[dict[str, Any]]:
    """Scores of all models on hosts unseen, best first, and the published figures last.

    Each row is that of :func:`scores` with ``by_scenario`` and ``learning_curve`` (None where
    there is none).

    ``mae_over_model3`` is the error over that of :data:`REFERENCE` on the bands of both, since
    some models were trained on one fold only; the order is by it where it is known.
    """
    whole = main_results(results)
    references = [r for r in whole if r.model.startswith(REFERENCE)]
    reference = min(references, key=_mae, default=None)
    cases, curves = by_scenario(results, bands), learning_curves(results)
    rows = []
    for result in whole:
        row = scores(result, threshold_ev)
        row["mae_over_model3"] = None if reference is None else _ratio(result, reference)
        row["by_scenario"] = cases[result.model]
        row["learning_curve"] = curves.get(result.model)
        rows.append(row)
    rows.sort(key=_order)
    return [*rows, *PUBLISHED]


def main_results(results: Sequence[Result]) -> list[Result]:
    """Those on hosts unseen that learned from all there was."""
    return [r for r in results if r.split == "hosts" and r.records is None]


def by_scenario(results: Sequence[Result], bands: Sequence[Band]) -> dict[str, dict[str, Any]]:
    """Errors by scenario of each model: B and C from folds of hosts, A from folds of paths."""
    found: dict[str, dict[str, Any]] = {}
    for result in (r for r in results if r.records is None):
        groups = _scenarios(result, bands)
        figures = by_group(result.predicted_ev, result.barrier_ev, groups)
        wanted = ("B", "C") if result.split == "hosts" else ("A",)
        row = found.setdefault(result.model, {})
        row |= {key: figures[key] for key in wanted if key in figures}
    return {model: dict(sorted(row.items())) for model, row in found.items()}


def learning_curves(results: Sequence[Result]) -> dict[str, dict[int, float]]:
    """Mean absolute error in eV by number of training bands, of models with several numbers.

    The last point is the main result's on the same bands; its number is the mean size of the
    training parts.
    """
    curves: dict[str, dict[int, float]] = {}
    whole = {r.model: r for r in main_results(results)}
    for part in results:
        if part.records is None or part.split != "hosts" or part.model not in whole:
            continue
        curve = curves.setdefault(part.model, {})
        curve[part.records] = _mae(part)
        full = whole[part.model].on({band.id for band in part.bands})
        if len(full.bands) == len(part.bands):
            done = {full.fold_of[band.id] for band in full.bands}
            folds = np.array(list(full.fold_of.values()))
            curve[round(float(np.mean([(folds != fold).sum() for fold in done])))] = _mae(full)
    return {model: dict(sorted(curve.items())) for model, curve in curves.items()}


def _order(row: Mapping[str, Any]) -> tuple[float, float]:
    ratio = row["mae_over_model3"]
    return float("inf") if ratio is None else ratio, row["mae_ev"]


def _mae(result: Result) -> float:
    return float(np.abs(result.predicted_ev - result.barrier_ev).mean())


def _ratio(result: Result, reference: Result) -> float | None:
    shared = {band.id for band in result.bands} & {band.id for band in reference.bands}
    return _mae(result.on(shared)) / _mae(reference.on(shared)) if shared else None


def _scenarios(result: Result, bands: Sequence[Band]) -> list[str]:
    """Scenario of each band of a result, by the training part of its own fold."""
    found: dict[str, str] = {}
    for fold in sorted({result.fold_of[band.id] for band in result.bands}):
        inside = [band for band in bands if result.fold_of[band.id] != fold]
        outside = [band for band in result.bands if result.fold_of[band.id] == fold]
        names = scenarios(outside, inside).tolist()
        found |= {band.id: name for band, name in zip(outside, names, strict=True)}
    return [found[band.id] for band in result.bands]


def _result(path: Path, content: dict[str, Any], known: Mapping[str, Band]) -> Result:
    try:
        predictions = {str(k): float(v) for k, v in content["predictions"].items()}
        intervals = content.get("intervals_90")
        ids = sorted(predictions)
        bounds = None if intervals is None else np.array([intervals[i] for i in ids], dtype=float)
        name, split = str(content["model"]), str(content.get("split", "hosts"))
        folds, seed = int(content["folds"]), int(content["seed"])
        records = None if content.get("records") is None else int(content["records"])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path}: {error}: not a cross-validation result; make it again") from error
    unknown = next((i for i in ids if i not in known), None)
    if unknown is not None or not ids:
        raise BadInput(f"{path}: predictions: band {unknown!r} is not in the data; name its data")
    name += _trained(content)
    bands = list(known.values())
    return Result(
        model=name,
        bands=tuple(known[i] for i in ids),
        predicted_ev=np.array([predictions[i] for i in ids]),
        interval_90_ev=bounds,
        fold_of=_by_id(bands, deal_folds(bands, split, folds, seed)),
        split=split,
        folds=folds,
        seed=seed,
        records=records,
    )


def _trained(content: Mapping[str, Any]) -> str:
    """Say how a network was trained: its size and epochs, in brackets."""
    size, schedule = content.get("size"), content.get("schedule")
    said = [str(size)] if size not in (None, "published") else []
    if schedule:
        said.append(f"{schedule['epochs']} epochs")
    return f" ({', '.join(said)})" if said else ""


def _by_id(bands: Sequence[Band], fold_of: np.ndarray) -> dict[str, int]:
    return {band.id: int(fold) for band, fold in zip(bands, fold_of, strict=True)}
