"""How values are written on the pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

from launch.views import LEVEL_TITLES

SCALE_TOP_EV = 1.2
"""Barrier at the upper end of the colour scale. The scale is the same everywhere, so that a
colour means the same in every material."""

COLOURS = ("#2c6fbb", "#1f9e89", "#8bb92d", "#f0a81e", "#e2622b", "#a8242e")
"""From an open hop to a closed one; told apart with any common colour vision by lightness too."""

UNKNOWN_COLOUR = "#8a94a3"

_FORMULA = re.compile(r"[A-Za-z0-9.()\[\]]{1,80}")


def barrier_colour(barrier_ev: float | None) -> str:
    """Return the colour of a barrier in eV, ``#rrggbb``, from :data:`COLOURS`."""
    if barrier_ev is None:
        return UNKNOWN_COLOUR
    at = min(max(barrier_ev / SCALE_TOP_EV, 0.0), 1.0) * (len(COLOURS) - 1)
    lower = min(int(at), len(COLOURS) - 2)
    low, high = _rgb(COLOURS[lower]), _rgb(COLOURS[lower + 1])
    mixed = (round(a + (b - a) * (at - lower)) for a, b in zip(low, high, strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)


def formula(text: str) -> Markup:
    """Write a formula with its numbers below the line; what is none, as it stands."""
    if not _FORMULA.fullmatch(text):
        return escape(text)
    return Markup(re.sub(r"(?<=[A-Za-z)\]])(\d+(?:\.\d+)?)", r"<sub>\1</sub>", text))


def ev(value: float | None, digits: int = 2) -> str:
    """Write an energy in eV."""
    return "–" if value is None else f"{value:.{digits}f}"


def interval(bounds: Sequence[float] | None) -> str:
    """Write a 90 % interval in eV."""
    return f"{bounds[0]:.2f} – {bounds[1]:.2f}" if bounds else "–"


def power(value: float) -> Markup:
    """Write a number as 3.2 × 10⁻⁷, or as zero."""
    if not value:
        return Markup("0")
    digits, exponent = f"{value:.1e}".split("e")
    return Markup("{} × 10<sup>{}</sup>").format(digits, f"{int(exponent)}".replace("-", "−"))


def count(value: int) -> str:
    """Write a count with thin spaces between the thousands."""
    return f"{value:,}".replace(",", "\u202f")


def moment(value: datetime | None) -> str:
    """Write a moment, in UTC."""
    if value is None:
        return "–"
    if value.tzinfo:
        value = value.astimezone(UTC)
    return f"{value:%Y-%m-%d %H:%M} UTC"


def seconds(value: float | None) -> str:
    """Write a duration."""
    if value is None:
        return "–"
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def level_title(level: str) -> str:
    """Name a level or a stage for people."""
    names = {"candidates": "candidates", "hops": "hosts with hops", "ranked": "ranked materials"}
    return LEVEL_TITLES.get(level) or names.get(level, level)


def percent_of_scale(value_ev: float) -> float:
    """Return where a barrier stands on a bar from 0 to :data:`SCALE_TOP_EV`, in percent."""
    return round(100 * min(max(value_ev / SCALE_TOP_EV, 0.0), 1.0), 2)


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


FILTERS: dict[str, Callable[..., Any]] = {
    "formula": formula,
    "ev": ev,
    "interval": interval,
    "power": power,
    "count": count,
    "moment": moment,
    "seconds": seconds,
    "level_title": level_title,
    "barrier_colour": barrier_colour,
    "percent_of_scale": percent_of_scale,
}
"""Filters of the templates."""
