"""The comparison drawn: parity, learning curves, calibration, errors by scenario and class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from em_model.evaluate import metrics
from em_model.paper.compare import Result, learning_curves, main_results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 110


def plots(results: Sequence[Result], folder: str | Path) -> list[Path]:
    """Write parity plots, and learning curves and calibration where they are known.

    Returns
    -------
    list of pathlib.Path
        ``parity.png``, ``learning_curve.png``, ``calibration.png``, those that were written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    whole = main_results(results)
    drawn = {"parity.png": _parity(whole)}
    curves = learning_curves(results)
    if curves:
        drawn["learning_curve.png"] = _curves(curves)
    calibrated = [r for r in whole if r.interval_90_ev is not None]
    if calibrated:
        drawn["calibration.png"] = _calibration(calibrated)
    for name, figure in drawn.items():
        # Without the date the same results give the same file.
        figure.savefig(folder / name, dpi=DPI, metadata={"Software": None})
    return [folder / name for name in drawn]


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _parity(results: Sequence[Result]) -> Figure:
    columns = min(4, len(results))
    lines = -(-len(results) // columns)
    figure = _figure(2.6 * columns, 2.7 * lines)
    axes = list(figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flat)
    top = max(float(max(r.barrier_ev.max(), r.predicted_ev.max())) for r in results) * 1.05
    ordered = sorted(results, key=lambda r: float(np.abs(r.predicted_ev - r.barrier_ev).mean()))
    for axis, result in zip(axes, ordered, strict=False):
        score = metrics(result.predicted_ev, result.barrier_ev)
        axis.plot([0, top], [0, top], color="0.6", linewidth=0.8)
        axis.scatter(result.barrier_ev, result.predicted_ev, s=5, alpha=0.45, linewidths=0)
        r2 = "" if score["r2"] is None else f", R² {score['r2']:.2f}"
        axis.set_title(
            f"{result.model}, {score['n']} bands\nMAE {score['mae_ev']:.3f} eV{r2}", size=8
        )
        ticks = range(0, int(top) + 1, 2 if top > 4 else 1)
        axis.set(xlim=(0, top), ylim=(0, top), aspect="equal", xticks=ticks, yticks=ticks)
    for axis in axes[len(ordered) :]:
        axis.set_visible(False)
    figure.supxlabel("DFT barrier (eV)", size=9)
    figure.supylabel("predicted, host unseen (eV)", size=9)
    return figure


def _curves(curves: Mapping[str, Mapping[int, float]]) -> Figure:
    figure = _figure(4.6, 3.2)
    axis = figure.subplots()
    for model, curve in curves.items():
        axis.plot(list(curve), list(curve.values()), "o-", label=model)
    sizes = sorted({n for curve in curves.values() for n in curve})
    axis.set(xlabel="training bands", ylabel="MAE on unseen hosts (eV)", xscale="log")
    axis.set_xticks(sizes, [str(n) for n in sizes], size=8)
    axis.minorticks_off()
    axis.legend(frameon=False)
    return figure


def _calibration(results: Sequence[Result]) -> Figure:
    """Left: coverage from narrow to wide intervals; right: by working ion."""
    figure = _figure(7.2, 3.2)
    by_width, by_ion = figure.subplots(1, 2, sharey=True)
    for result in results:
        by_width.plot(*_coverage_by_width(result), "o-", label=result.model)
        ions, shares, counts = _coverage_by_ion(result)
        by_ion.plot(range(len(ions)), shares, "o", label=result.model)
        labels = [f"{ion}\n{n}" for ion, n in zip(ions, counts, strict=True)]
        by_ion.set_xticks(range(len(ions)), labels, size=8)
    axis: Axes
    for axis in (by_width, by_ion):
        axis.axhline(0.9, color="0.6", linewidth=0.8)
        axis.set_ylim(0.5, 1.02)
    by_width.set(xlabel="width of the 90 % interval (eV)", ylabel="share inside")
    by_ion.set(xlabel="working ion, bands")
    by_width.legend(frameon=False)
    return figure


def _coverage_by_width(result: Result, groups: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Mean width and share inside, by eighths of the bands from narrow to wide."""
    low, high, inside = _inside(result)
    parts = np.array_split(np.argsort(high - low, kind="stable"), groups)
    parts = [part for part in parts if len(part)]
    width = np.array([(high - low)[part].mean() for part in parts])
    return width, np.array([inside[part].mean() for part in parts])


def _coverage_by_ion(result: Result) -> tuple[list[str], list[float], list[int]]:
    """Ions, share inside and number of bands."""
    *_, inside = _inside(result)
    ions = np.array([band.working_ion for band in result.bands])
    names, counts = np.unique(ions, return_counts=True)
    return names.tolist(), [float(inside[ions == n].mean()) for n in names], counts.tolist()


def _inside(result: Result) -> tuple[Any, Any, Any]:
    """Lower and upper bounds, and whether the barrier lies between them; shape (n,) each."""
    if result.interval_90_ev is None:
        raise ValueError(f"{result.model}: has no intervals")
    low, high = result.interval_90_ev.T
    return low, high, (low <= result.barrier_ev) & (result.barrier_ev <= high)
