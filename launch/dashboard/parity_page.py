"""How far two levels agree: the points of one level over another, and their statistics."""

from __future__ import annotations

from itertools import combinations, islice

from flask import Flask, render_template, request

from launch.dashboard import charts
from stores.documents import LEVELS, Level
from stores.residuals import pairs, residuals
from stores.screen_store import ScreenStore

MAX_POINTS = 5000
"""Points drawn at most; the statistics are of all."""

_PAIRS: list[tuple[Level, Level]] = list(combinations(LEVELS, 2))


def add_to(app: Flask, store: ScreenStore) -> None:
    """Add the pages of this module."""
    app.add_url_rule("/parity", "parity", lambda: _parity(store))


def _parity(store: ScreenStore) -> str:
    known = {(one.cheap, one.dear): one for one in residuals(store)}
    wanted = request.args.get("levels", "").partition("-")[::2]
    chosen = next(
        (pair for pair in _PAIRS if pair == wanted),
        max(known, key=lambda pair: known[pair].n, default=_PAIRS[0]),
    )
    found = list(islice(pairs(store, *chosen), MAX_POINTS))
    return render_template(
        "parity.html",
        known=known,
        pairs=_PAIRS,
        chosen=chosen,
        found=found,
        figure=charts.parity(found, *chosen) if found else None,
        furthest=sorted(found, key=lambda pair: -abs(pair.residual_ev))[:10],
        max_points=MAX_POINTS,
    )
