"""A small world for the tests of the band model: real geometry, no downloads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from em_model.data import Band


def perovskite_band(
    seed: int = 0, *, ion: str = "Li", anion: str = "O", metal: str = "Ti", barrier: float = 0.4
) -> Band:
    """A 2 × 2 × 2 cell of an ABX3-like host, shaken, with an ion hopping between two A sites."""
    rng = np.random.default_rng(seed)
    lattice = np.diag([7.8, 7.9, 8.0]) + rng.normal(scale=0.1, size=(3, 3))
    sites, species = [], []
    for shift in np.ndindex(2, 2, 2):
        cell = [
            (metal, (0.5, 0.5, 0.5)),
            (anion, (0.5, 0.5, 0.0)),
            (anion, (0.5, 0.0, 0.5)),
            (anion, (0.0, 0.5, 0.5)),
        ]
        if shift not in ((0, 0, 0), (1, 0, 0)):
            cell.append((ion, (0.0, 0.0, 0.0)))
        for symbol, place in cell:
            species.append(symbol)
            sites.append((np.array(place) + shift) / 2 + rng.normal(scale=0.01, size=3))
    start = rng.normal(scale=0.01, size=3)
    path = start + np.linspace(0, 1, 5)[:, None] * np.array([0.5, 0.0, 0.0])
    return Band(
        id=f"b{seed}",
        working_ion=ion,
        lattice=lattice,
        species=(*[ion] * 5, *species),
        frac_coords=np.vstack([path, sites]),
        barrier_ev=barrier,
        system=f"{metal}{anion}_{seed}",
    )


@pytest.fixture(scope="session")
def make_band() -> Callable[..., Band]:
    """:func:`perovskite_band`."""
    return perovskite_band


@pytest.fixture
def band() -> Band:
    """One band of 35 sites."""
    return perovskite_band()


@pytest.fixture(scope="session")
def many_bands() -> list[Band]:
    """Thirty bands in ten hosts, barriers rising with the path's narrowness."""
    bands = []
    for n in range(30):
        metal = ("Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Zr", "Nb", "Mo")[n % 10]
        ion = ("Li", "Na", "Mg")[n // 10]
        value = 0.2 + 0.05 * (n % 10) + 0.15 * (n // 10)
        bands.append(perovskite_band(n, ion=ion, metal=metal, barrier=value))
    return bands
