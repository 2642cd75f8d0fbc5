"""The figures of a report, drawn by matplotlib: funnel, ranking, profiles, parity."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from launch.dashboard.charts import LEVEL_COLOURS
from launch.dashboard.formats import level_title
from stores.documents import LEVELS, BarrierDoc, Level, RankedDoc
from stores.queries import HopView, Summary
from stores.residuals import Pair

_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a94a3",
    "xtick.color": "#5a6778",
    "ytick.color": "#5a6778",
    # Ids and formulas are other people's text and no mathematics.
    "text.parse_math": False,
    "svg.hashsalt": "hopscreen",
}

_MARKERS = {"band": "D", "mlip": "o", "dft": "s"}

_BELOW = str.maketrans("0123456789.", "₀₁₂₃₄₅₆₇₈₉.")

Figures = dict[str, Figure]


def formula_text(formula: str) -> str:
    """Write a formula with its numbers below the line."""
    if not re.fullmatch(r"[A-Za-z0-9.()\[\]]{1,80}", formula):
        return formula[:40]
    return re.sub(r"(?<=[A-Za-z)\]])[\d.]+", lambda found: found[0].translate(_BELOW), formula)


def draw(
    summary: Summary,
    ranked: Sequence[RankedDoc],
    profiles: Sequence[tuple[RankedDoc, HopView]],
    pairs: Mapping[tuple[Level, Level], Sequence[Pair]],
) -> Figures:
    """Draw all figures that have something to show; name → figure."""
    with matplotlib.rc_context(_STYLE):
        found = {
            "funnel": funnel(summary),
            "ranking": ranking(ranked) if ranked else None,
            "profiles": profile_grid(profiles) if profiles else None,
            "parity": parity(pairs) if pairs else None,
        }
    return {name: figure for name, figure in found.items() if figure is not None}


def save(figure: Figure, kind: str) -> bytes:
    """Return a figure as ``svg`` or ``png``; the same figure gives the same bytes."""
    out = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        metadata: dict[str, Any] = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(out, format=kind, dpi=200, metadata=metadata)
    return out.getvalue()


def funnel(summary: Summary) -> Figure:
    """Draw how many came through each stage, on a logarithmic axis."""
    figure = Figure(figsize=(6.5, 2.9), layout="constrained")
    axes = figure.add_subplot()
    for row, stage in enumerate(summary.stages):
        left = 0
        for count, colour in (
            (stage.done, "#0f6d7a"),
            (stage.failed, "#b3261e"),
            (stage.waiting or 0, "#b9d5d8"),
        ):
            # From one total to the next, since lengths do not add up on such an axis.
            start, end = math.log10(1 + left), math.log10(1 + left + count)
            axes.barh(row, end - start, left=start, height=0.66, color=colour)
            left += count
        notes = [f"{stage.done:,}"]
        notes += [f"{stage.failed:,} failed"] if stage.failed else []
        notes += [f"{stage.waiting:,} waiting"] if stage.waiting else []
        axes.text(math.log10(1 + left) + 0.03, row, " · ".join(notes), va="center")
    axes.set_yticks(range(len(summary.stages)), [level_title(s.stage) for s in summary.stages])
    axes.invert_yaxis()
    top = max(stage.done + stage.failed + (stage.waiting or 0) for stage in summary.stages)
    ticks = [10**n for n in range(len(str(top)))]
    axes.set_xticks([math.log10(1 + n) for n in ticks], [f"{n:,}" for n in ticks])
    axes.set_xlim(0, math.log10(2 + top) * 1.35)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(length=0)
    return figure


def ranking(docs: Sequence[RankedDoc]) -> Figure:
    """Draw the limiting barriers with their 90 % intervals, best on top."""
    figure = Figure(figsize=(6.5, 0.9 + 0.24 * len(docs)), layout="constrained")
    axes = figure.add_subplot()
    for level in LEVELS:
        mine = [(row, doc) for row, doc in enumerate(docs) if doc.level == level]
        if not mine:
            continue
        values = [doc.barrier_ev for _, doc in mine]
        axes.errorbar(
            values,
            [row for row, _ in mine],
            xerr=[
                [doc.barrier_ev - doc.interval_90_ev[0] for _, doc in mine],
                [doc.interval_90_ev[1] - doc.barrier_ev for _, doc in mine],
            ],
            fmt=_MARKERS[level],
            color=LEVEL_COLOURS[level],
            ecolor=LEVEL_COLOURS[level] + "88",
            elinewidth=1.6,
            markersize=5,
            label=level_title(level),
        )
    axes.set_yticks(range(len(docs)), [_name(doc) for doc in docs])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("limiting barrier / eV, with 90 % interval")
    axes.grid(axis="x", color="#e6eaf0", zorder=0)
    axes.set_axisbelow(True)
    figure.legend(frameon=False, loc="outside upper right", ncols=3)
    return figure


def profile_grid(profiles: Sequence[tuple[RankedDoc, HopView]]) -> Figure:
    """Draw the energy profiles of limiting hops, all levels of a hop in one panel."""
    columns = min(3, len(profiles))
    rows = -(-len(profiles) // columns)
    figure = Figure(figsize=(2.2 * columns + 0.4, 1.9 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    seen: dict[str, Any] = {}
    for axes, (doc, hop) in zip(panels, profiles, strict=False):
        for estimate in hop.estimates:
            if line := _profile(axes, estimate):
                seen.setdefault(level_title(estimate.level), line)
        axes.set_title(_name(doc), fontsize=9)
        axes.axhline(0, color="#dfe4eb", linewidth=0.8, zorder=0)
        axes.set_xticks([0, 1])
    for axes in list(panels)[len(profiles) :]:
        axes.set_visible(False)
    figure.supxlabel("along the path", fontsize=9)
    figure.supylabel("energy / eV", fontsize=9)
    figure.legend(
        list(seen.values()), list(seen), frameon=False, loc="outside upper center", ncols=3
    )
    return figure


def _profile(axes: Any, doc: BarrierDoc) -> Any:
    """Draw one estimate; one without a profile is a dashed line."""
    if doc.barrier_ev is None:
        return None
    colour = LEVEL_COLOURS[doc.level]
    if not doc.profile or len(doc.profile.coordinate_ang) < 2:
        return axes.axhline(doc.barrier_ev, color=colour, linestyle="--", linewidth=1.2)
    x, y = doc.profile.coordinate_ang, doc.profile.energy_ev
    long = (x[-1] - x[0]) or 1.0
    along = [(at - x[0]) / long for at in x]
    (line,) = axes.plot(
        along, y, marker=_MARKERS[doc.level], markersize=3.5, color=colour, linewidth=1.4
    )
    return line


def parity(pairs: Mapping[tuple[Level, Level], Sequence[Pair]]) -> Figure:
    """Draw dear over cheap barriers for every two levels that share hops."""
    figure = Figure(figsize=(2.4 * len(pairs) + 0.3, 2.6), layout="constrained")
    for axes, ((cheap, dear), found) in zip(
        figure.subplots(1, len(pairs), squeeze=False)[0], pairs.items(), strict=True
    ):
        values = [pair.cheap.barrier_ev for pair in found]
        dearer = [pair.dear.barrier_ev for pair in found]
        known = [one for one in (*values, *dearer) if one is not None]
        top = max([*known, 0.5]) * 1.08
        axes.plot([0, top], [0, top], color="#8a94a3", linestyle=":", linewidth=1)
        axes.plot(
            values, dearer, linestyle="none", marker=_MARKERS[dear], markersize=4,
            color=LEVEL_COLOURS[dear], alpha=0.8,
        )  # fmt: skip
        axes.set_xlabel(f"{level_title(cheap)} / eV")
        axes.set_ylabel(f"{level_title(dear)} / eV")
        axes.set_xlim(min([*known, 0.0]) - 0.02, top)
        axes.set_ylim(min([*known, 0.0]) - 0.02, top)
        axes.set_box_aspect(1)
    return figure


def _name(doc: RankedDoc) -> str:
    formula = formula_text(doc.formula)
    return formula if doc.material_id == doc.formula else f"{formula}  ({doc.material_id[:24]})"
