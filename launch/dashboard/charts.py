"""What plotly.js draws, as plain mappings; colours that follow the theme are left to the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from launch.dashboard.formats import level_title
from stores.documents import BarrierDoc, Level
from stores.residuals import Pair

LEVEL_COLOURS: dict[Level, str] = {"band": "#7b61d1", "mlip": "#1f9e89", "dft": "#e2622b"}

_SYMBOLS: dict[Level, str] = {"band": "diamond", "mlip": "circle", "dft": "square"}


def profiles(estimates: Iterable[BarrierDoc]) -> dict[str, Any]:
    """Draw the energy profiles of one hop at all levels.

    The path runs from 0 to 1, since its length in Å differs from level to level. Images are
    joined by straight lines, which claim no more than the images know. A level without a profile
    is a horizontal line. Each barrier has its 90 % interval.
    """
    traces: list[dict[str, Any]] = []
    lone = 0
    for doc in estimates:
        if doc.status != "done" or doc.barrier_ev is None:
            continue
        if doc.profile and len(doc.profile.coordinate_ang) > 1:
            traces.append(_profile(doc))
        else:
            lone += 1
            traces += _value(doc, 0.9 - 0.06 * (lone - 1))
    layout = {
        "xaxis": {"title": {"text": "along the path"}, "range": [-0.05, 1.05], "zeroline": False},
        "yaxis": {"title": {"text": "energy / eV"}, "zeroline": True},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "hovermode": "closest",
    }
    return {"data": traces, "layout": layout}


def _profile(doc: BarrierDoc) -> dict[str, Any]:
    assert doc.profile is not None
    x, y = doc.profile.coordinate_ang, doc.profile.energy_ev
    long = (x[-1] - x[0]) or 1.0
    colour = LEVEL_COLOURS[doc.level]
    trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name(doc),
        "x": [(at - x[0]) / long for at in x],
        "y": y,
        "customdata": x,
        "hovertemplate": "%{y:.3f} eV at %{customdata:.2f} Å<extra>" + level_title(doc.level)
        + "</extra>",
        "line": {"color": colour, "width": 2.5},
        "marker": {"color": colour, "size": 8, "symbol": _SYMBOLS[doc.level]},
    }  # fmt: skip
    if doc.interval_90_ev and doc.barrier_ev is not None:
        # The interval is the barrier's; it stands at the saddle, which is no end of the path.
        low, high = doc.interval_90_ev
        top = max(range(1, len(y) - 1), key=y.__getitem__) if len(y) > 2 else y.index(max(y))
        trace["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": [high - y[top] if i == top else 0 for i in range(len(y))],
            "arrayminus": [y[top] - low if i == top else 0 for i in range(len(y))],
            "color": colour,
            "thickness": 1.5,
            "width": 6,
        }
    return trace


def _value(doc: BarrierDoc, at: float) -> list[dict[str, Any]]:
    colour = LEVEL_COLOURS[doc.level]
    low, high = doc.interval_90_ev or (doc.barrier_ev, doc.barrier_ev)
    value = doc.barrier_ev
    assert value is not None
    assert low is not None
    assert high is not None
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [0, 1],
            "y": [value, value],
            "line": {"color": colour, "width": 2, "dash": "dash"},
            "hoverinfo": "skip",
            "showlegend": False,
        },
        {
            "type": "scatter",
            "mode": "markers",
            "name": name(doc),
            "x": [at],
            "y": [value],
            "marker": {"color": colour, "size": 9, "symbol": _SYMBOLS[doc.level]},
            "hovertemplate": "%{y:.3f} eV<extra>" + level_title(doc.level) + "</extra>",
            "error_y": {
                "type": "data",
                "symmetric": False,
                "array": [high - value],
                "arrayminus": [value - low],
                "color": colour,
                "thickness": 1.5,
                "width": 6,
            },
        },
    ]


def name(doc: BarrierDoc) -> str:
    """Name an estimate in a legend: level, value and its word of warning."""
    label = f" ({plain(doc.label)})" if doc.label else ""
    return f"{level_title(doc.level)}{label}: {doc.barrier_ev:.3f} eV"


def parity(found: Sequence[Pair], cheap: Level, dear: Level) -> dict[str, Any]:
    """Draw dear barriers over cheap ones, with the cheap level's 90 % intervals."""
    x, y, low, high, ids, labels = [], [], [], [], [], []
    for pair in found:
        value, dearer, bounds = (
            pair.cheap.barrier_ev, pair.dear.barrier_ev, pair.cheap.interval_90_ev
        )  # fmt: skip
        if value is None or dearer is None or bounds is None:
            continue
        x.append(value)
        y.append(dearer)
        low.append(value - bounds[0])
        high.append(bounds[1] - value)
        ids.append([pair.candidate_id, pair.hop_id])
        labels.append(plain(pair.candidate_id))
    top = max([*x, *y, 0.5]) * 1.08
    bottom = min([*x, *y, 0.0]) - 0.03
    axis = {"range": [bottom, top], "zeroline": False}
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "lines",
                "x": [bottom, top],
                "y": [bottom, top],
                "line": {"color": "#8a94a3", "width": 1, "dash": "dot"},
                "hoverinfo": "skip",
                "showlegend": False,
            },
            {
                "type": "scatter",
                "mode": "markers",
                "x": x,
                "y": y,
                "text": labels,
                "customdata": ids,
                "hovertemplate": "%{text}<br>%{x:.3f} → %{y:.3f} eV<extra></extra>",
                "marker": {"color": LEVEL_COLOURS[dear], "size": 9, "opacity": 0.85},
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": high,
                    "arrayminus": low,
                    "thickness": 1,
                    "width": 0,
                    "color": LEVEL_COLOURS[dear] + "55",
                },
                "showlegend": False,
            },
        ],
        "layout": {
            "xaxis": {**axis, "title": {"text": f"{level_title(cheap)} / eV"}},
            "yaxis": {
                **axis,
                "title": {"text": f"{level_title(dear)} / eV"},
                "scaleanchor": "x",
                "scaleratio": 1,
            },
            "hovermode": "closest",
        },
    }


def plain(text: str | None) -> str:
    """Write text that plotly.js must not read as its own small HTML."""
    return (text or "").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
