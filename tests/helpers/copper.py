"""A vacancy hop that effective-medium theory computes in a blink."""

from __future__ import annotations

from ase import Atoms
from ase.build import bulk


def copper_vacancy() -> tuple[Atoms, Atoms]:
    """A copper atom beside a vacancy, and in it."""
    crystal = bulk("Cu", cubic=True, a=3.6).repeat(2)
    vector = crystal.get_distance(0, 1, mic=True, vector=True)
    del crystal[1]
    final = crystal.copy()
    final.positions[0] += vector
    return crystal, final
