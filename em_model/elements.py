"""Elemental properties and the bond-valence parameters made of them.

The table ``data/elements.json`` was tabulated from pymatgen's ``Element`` and from O'Keeffe
and Brese, J. Am. Chem. Soc. 113, 3226 (1991) (``bv_radius_ang``, ``bv_softness``); gaps are
filled with the value of the element nearest in atomic number.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

import numpy as np
from ase.data import atomic_numbers

MAX_NUMBER = 94
"""Largest atomic number in the table; heavier elements take its row."""


@cache
def table() -> tuple[dict[str, int], np.ndarray]:
    """Column numbers by name, and the values by atomic number.

    Returns
    -------
    tuple
        ``{name: column}`` and an array of shape (MAX_NUMBER + 1, columns); row 0 is zero.
    """
    content = json.loads((files("em_model") / "data" / "elements.json").read_text("utf-8"))
    values = np.zeros((MAX_NUMBER + 1, len(content["columns"])))
    for symbol, row in content["rows"].items():
        values[atomic_numbers[symbol]] = row
    return {name: i for i, name in enumerate(content["columns"])}, values


@cache
def standardised() -> np.ndarray:
    """The table with every column at mean 0 and deviation 1, shape (MAX_NUMBER + 1, columns)."""
    values = table()[1]
    body = values[1:]
    out = np.zeros_like(values)
    out[1:] = (body - body.mean(axis=0)) / body.std(axis=0)
    return out.astype(np.float32)


def column(name: str) -> np.ndarray:
    """One column by atomic number, shape (MAX_NUMBER + 1,)."""
    columns, values = table()
    return values[:, columns[name]]


@cache
def bond_valence_lengths() -> np.ndarray:
    """Length in Å of a bond of valence one between two elements.

    Eq. 2 of O'Keeffe and Brese (1991): r_i + r_j − r_i r_j (√c_i − √c_j)² / (c_i r_i + c_j r_j).

    Returns
    -------
    np.ndarray
        Shape (MAX_NUMBER + 1, MAX_NUMBER + 1), symmetric; row and column 0 are zero.
    """
    r, c = column("bv_radius_ang"), column("bv_softness")
    with np.errstate(invalid="ignore", divide="ignore"):
        shrink = (
            r[:, None]
            * r[None]
            * (np.sqrt(c)[:, None] - np.sqrt(c)[None]) ** 2
            / ((c * r)[:, None] + (c * r)[None])
        )
    return np.nan_to_num(r[:, None] + r[None] - shrink) * (r[:, None] > 0) * (r[None] > 0)


def numbers_of(species: tuple[str, ...]) -> np.ndarray:
    """Atomic numbers, clipped to the table, shape (n,)."""
    numbers = np.fromiter((atomic_numbers[s] for s in species), dtype=np.int64)
    return np.minimum(numbers, MAX_NUMBER)
