"""An energy profile drawn with characters."""

from __future__ import annotations

from itertools import pairwise

from stores.documents import EnergyProfile

IMAGE, BETWEEN = "●", "·"


def draw_profile(profile: EnergyProfile, *, width: int = 56, height: int = 11) -> str:
    """Draw energies (eV) along the path (Å).

    Images are marked; the dots between them are straight lines, which claim no more than the
    images know.

    Parameters
    ----------
    profile
        At least two images.
    width, height
        Characters of the drawing itself, without its axes.

    Returns
    -------
    str
        Lines of text, the energy axis on the left.
    """
    x, y = profile.coordinate_ang, profile.energy_ev
    low, high = min(*y, 0.0), max(y)
    tall = (high - low) or 1.0
    long = (x[-1] - x[0]) or 1.0
    canvas = [[" "] * width for _ in range(height)]

    def column(coordinate: float) -> int:
        return round((coordinate - x[0]) / long * (width - 1))

    def row(energy: float) -> int:
        return round((high - energy) / tall * (height - 1))

    for (x0, y0), (x1, y1) in pairwise(zip(x, y, strict=True)):
        for at in range(column(x0), column(x1) + 1):
            share = (at - column(x0)) / max(1, column(x1) - column(x0))
            canvas[row(y0 + share * (y1 - y0))][at] = BETWEEN
    for coordinate, energy in zip(x, y, strict=True):
        canvas[row(energy)][column(coordinate)] = IMAGE

    # Name the top, the bottom and zero; where two fall together, once.
    labels = {row(low): low, row(0.0): 0.0, 0: high}
    lines = []
    for number, cells in enumerate(canvas):
        label = f"{labels[number]:7.3f} ┤" if number in labels else f"{'':7} │"
        lines.append(f"{label}{''.join(cells)}".rstrip())
    end = f"{long:.2f} Å"
    lines.append(f"{'eV':>7} └{'─' * width}")
    lines.append(f"{'':9}0{end:>{width - 1}}")
    return "\n".join(lines)
