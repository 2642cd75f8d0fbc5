"""The percolating network of a material: how far its hops carry an ion, and which one limits.

Sites of the moving ion are the nodes of a periodic graph, hops its edges: edge ``(i, j, a, b, c)``
joins site ``i`` of the home cell to site ``j`` of the cell at lattice translation ``(a, b, c)``.
The closed walks of a connected component that end in another cell span a lattice of
translations; its rank is the number of dimensions in which the component percolates (the
dimensionality of a periodic graph, as in Larsen, Pandey, Strange and Jacobsen, Phys. Rev.
Materials 3, 034003 (2019)).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Vector = tuple[int, int, int]
Edge = tuple[int, int, int, int, int]

_ZERO: Vector = (0, 0, 0)


class PeriodicNetwork:
    """A periodic graph that edges are added to, and that knows its dimension at any time.

    A union-find whose nodes carry the translation to their root, so that an edge inside a
    component is a closed walk and its translation is known at once.
    """

    def __init__(self) -> None:
        self._parent: dict[int, int] = {}
        self._shift: dict[int, Vector] = {}
        self._cycles: dict[int, tuple[Vector, ...]] = {}
        self.dimension = 0

    def add(self, edges: Iterable[Sequence[int]]) -> int:
        """Add edges; return the dimension that the network now reaches, 0 to 3."""
        for i, j, a, b, c in edges:
            self._add(i, j, (a, b, c))
        return self.dimension

    def _add(self, i: int, j: int, translation: Vector) -> None:
        root_i, shift_i = self._root(i)
        root_j, shift_j = self._root(j)
        # From root_i to i, along the edge to j, and back to root_j.
        vector = _sub(_plus(shift_i, translation), shift_j)
        if root_i != root_j:
            self._parent[root_j] = root_i
            self._shift[root_j] = vector
            candidates = (*self._cycles[root_i], *self._cycles.pop(root_j))
        elif vector == _ZERO:
            return
        else:
            candidates = (*self._cycles[root_i], vector)
        basis: tuple[Vector, ...] = ()
        for candidate in candidates:
            basis = _extended(basis, candidate)
        self._cycles[root_i] = basis
        self.dimension = max(self.dimension, len(basis))

    def _root(self, node: int) -> tuple[int, Vector]:
        if node not in self._parent:
            self._parent[node], self._shift[node], self._cycles[node] = node, _ZERO, ()
        shift = _ZERO
        while self._parent[node] != node:
            shift = _plus(shift, self._shift[node])
            node = self._parent[node]
        return node, shift


def reached_dimension(edges: Iterable[Sequence[int]]) -> int:
    """Return the number of dimensions, 0 to 3, in which the edges percolate.

    Parameters
    ----------
    edges
        ``(i, j, a, b, c)``, each undirected edge once or in both directions.
    """
    return PeriodicNetwork().add(edges)


@dataclass(frozen=True)
class HopBarrier:
    """An estimated hop with all its symmetry equivalents."""

    hop_id: str
    barrier_ev: float
    interval_90_ev: tuple[float, float]
    edges: Sequence[Sequence[int]]


@dataclass(frozen=True)
class Limit:
    """What limits a material in some number of dimensions.

    Attributes
    ----------
    barrier_ev
        Lowest energy at which the open hops percolate.
    interval_90_ev
        The same with all hops at their lower, and at their upper bounds: since the limit only
        rises when a barrier rises, nothing within the hops' intervals leads outside.
    limiting_hop_id
        The hop that closes the network.
    alternatives
        Hops that limit instead when they alone are at the upper end of their interval, or when
        the limiting hop alone is at its lower end; sorted.
    """

    barrier_ev: float
    interval_90_ev: tuple[float, float]
    limiting_hop_id: str
    alternatives: tuple[str, ...]


def limiting_barrier(hops: Iterable[HopBarrier], dimension: int) -> Limit | None:
    """Find what limits transport in ``dimension`` dimensions.

    Hops are opened by rising barrier until the network percolates; the last one opened limits.

    Returns
    -------
    Limit or None
        None where all hops together do not percolate in so many dimensions.
    """
    hops = sorted(hops, key=lambda hop: hop.hop_id)
    central = [hop.barrier_ev for hop in hops]
    found = _closing(hops, central, dimension)
    if found is None:
        return None
    low = _closing(hops, [hop.interval_90_ev[0] for hop in hops], dimension)
    high = _closing(hops, [hop.interval_90_ev[1] for hop in hops], dimension)
    assert low is not None
    assert high is not None
    others = set()
    for place, hop in enumerate(hops):
        bound = hop.interval_90_ev[0] if place == found[1] else hop.interval_90_ev[1]
        moved = _closing(hops, [*central[:place], bound, *central[place + 1 :]], dimension)
        assert moved is not None
        if place == found[1] or moved[1] == place:
            others.add(hops[moved[1]].hop_id)
    limiting = hops[found[1]].hop_id
    return Limit(
        barrier_ev=found[0],
        interval_90_ev=(low[0], high[0]),
        limiting_hop_id=limiting,
        alternatives=tuple(sorted(others - {limiting})),
    )


def _closing(
    hops: Sequence[HopBarrier], barriers_ev: Sequence[float], dimension: int
) -> tuple[float, int] | None:
    """Return the barrier at which the network percolates, and the place of the hop that did it."""
    network = PeriodicNetwork()
    for place in sorted(range(len(hops)), key=lambda p: (barriers_ev[p], p)):
        if network.add(hops[place].edges) >= dimension:
            return barriers_ev[place], place
    return None


def _plus(u: Vector, v: Vector) -> Vector:
    return (u[0] + v[0], u[1] + v[1], u[2] + v[2])


def _sub(u: Vector, v: Vector) -> Vector:
    return (u[0] - v[0], u[1] - v[1], u[2] - v[2])


def _cross(u: Vector, v: Vector) -> Vector:
    return (u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0])


def _extended(basis: tuple[Vector, ...], vector: Vector) -> tuple[Vector, ...]:
    """Add a vector if it is linearly independent of the basis; exact, in integers."""
    if not basis:
        independent = vector != _ZERO
    elif len(basis) == 1:
        independent = _cross(basis[0], vector) != _ZERO
    elif len(basis) == 2:
        normal = _cross(basis[0], basis[1])
        independent = sum(n * v for n, v in zip(normal, vector, strict=True)) != 0
    else:
        independent = False
    return (*basis, vector) if independent else basis
