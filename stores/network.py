"""Percolation of a material's hops: the dimension reached and the barrier that limits it.

A hop orbit is a set of periodic edges ``(i, j, a, b, c)``: from site ``i`` of the home cell to
site ``j`` of the cell at lattice vector ``(a, b, c)``. A walk along edges that comes back to its
site in another cell has made a lattice vector; the rank of all such vectors of a connected
component is the number of dimensions in which the ion gets through the crystal [1]_.

References
----------
.. [1] P. M. Larsen, M. Pandey, M. Strange, K. W. Jacobsen, Phys. Rev. Materials 3, 034003
   (2019).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

Edge = tuple[int, int, int, int, int]
Vector = tuple[int, int, int]

_ZERO: Vector = (0, 0, 0)


class PeriodicNetwork:
    """A periodic graph that grows edge by edge and knows its dimension.

    A union-find whose nodes carry the lattice vector to their root, so that an edge within a
    component yields the lattice vector of the cycle that it closes; a component keeps at most
    three independent ones.

    Attributes
    ----------
    dimension
        Largest rank over the components, 0 to 3.
    """

    def __init__(self) -> None:
        self.dimension = 0
        self._parent: dict[int, int] = {}
        self._offset: dict[int, Vector] = {}
        self._cycles: dict[int, list[Vector]] = {}

    def add(self, edges: Iterable[Sequence[int]]) -> int:
        """Add edges; return the dimension reached now."""
        for i, j, a, b, c in edges:
            root_i, at_i = self._find(i)
            root_j, at_j = self._find(j)
            # The edge leads from cell 0 of i to cell (a, b, c) of j.
            step = (at_i[0] - at_j[0] + a, at_i[1] - at_j[1] + b, at_i[2] - at_j[2] + c)
            if root_i == root_j:
                self._close(root_i, [step])
            else:
                self._parent[root_j] = root_i
                self._offset[root_j] = step
                self._close(root_i, self._cycles.pop(root_j))
        return self.dimension

    def _find(self, node: int) -> tuple[int, Vector]:
        """Return the node's root and its lattice vector relative to it."""
        if node not in self._parent:
            self._parent[node] = node
            self._offset[node] = _ZERO
            self._cycles[node] = []
            return node, _ZERO
        chain = []
        while self._parent[node] != node:
            chain.append(node)
            node = self._parent[node]
        total = _ZERO
        for member in reversed(chain):
            own = self._offset[member]
            total = (total[0] + own[0], total[1] + own[1], total[2] + own[2])
            self._parent[member] = node
            self._offset[member] = total
        return node, total

    def _close(self, root: int, vectors: Iterable[Vector]) -> None:
        """Keep those vectors that are independent of the component's others."""
        basis = self._cycles[root]
        for vector in vectors:
            if len(basis) < 3 and _independent(basis, vector):
                basis.append(vector)
        self.dimension = max(self.dimension, len(basis))


def reached_dimension(edges: Iterable[Sequence[int]]) -> int:
    """Return in how many dimensions a periodic network percolates.

    Parameters
    ----------
    edges
        ``(i, j, a, b, c)``, each undirected edge once (more often does no harm).

    Returns
    -------
    int
        0 (cages and dead ends) to 3; the most of any connected component. Components that
        interpenetrate or lie side by side do not add up: an ion stays in its own.
    """
    return PeriodicNetwork().add(edges)


@dataclass(frozen=True)
class HopBarrier:
    """A hop orbit with its barrier.

    Attributes
    ----------
    hop_id
        Identifier; ties of barriers are settled by it.
    edges
        All equivalents in the primitive cell.
    barrier_ev
        Estimate in eV.
    interval_90_ev
        Lower and upper bound in eV, around the estimate.
    """

    hop_id: str
    edges: Sequence[Sequence[int]]
    barrier_ev: float
    interval_90_ev: tuple[float, float]

    def __post_init__(self) -> None:
        low, high = self.interval_90_ev
        if not low <= self.barrier_ev <= high:
            raise ValueError(
                f"hop {self.hop_id}: barrier {self.barrier_ev} eV lies outside of its interval "
                f"({low}, {high})"
            )


@dataclass(frozen=True)
class Limit:
    """What limits transport through a material in ``dimension`` dimensions.

    Attributes
    ----------
    dimension
        The dimension asked for.
    barrier_ev
        Barrier of the limiting hop: the least that an ion must afford to get through.
    interval_90_ev
        Limiting barriers of all lower and of all upper bounds. The limiting barrier never falls
        when a hop's barrier rises, so that no values within the hops' intervals lead out of it.
    limiting_hop_id
        The limiting hop.
    alternatives
        Other hops that may limit instead, sorted: those that limit for some value in their own
        interval while all others are at their estimates, their lower or their upper bounds.
    """

    dimension: int
    barrier_ev: float
    interval_90_ev: tuple[float, float]
    limiting_hop_id: str
    alternatives: tuple[str, ...] = ()


def limiting_barrier(hops: Iterable[HopBarrier], dimension: int) -> Limit | None:
    """Find the barrier that limits transport in ``dimension`` dimensions.

    Hops are opened by rising barrier until the network percolates; the last one limits.

    Parameters
    ----------
    hops
        The hop orbits of one material.
    dimension
        1, 2 or 3.

    Returns
    -------
    Limit or None
        None where all hops together do not reach ``dimension``.

    Raises
    ------
    ValueError
        ``dimension`` is not 1, 2 or 3.
    """
    if dimension not in (1, 2, 3):
        raise ValueError(f"dimension {dimension}: give 1, 2 or 3")
    orbits = sorted(hops, key=lambda hop: hop.hop_id)
    scenarios: tuple[Callable[[HopBarrier], float], ...] = (
        lambda hop: hop.barrier_ev,
        lambda hop: hop.interval_90_ev[0],
        lambda hop: hop.interval_90_ev[1],
    )
    bottlenecks = [_bottleneck(orbits, value, dimension) for value in scenarios]
    central, low, high = bottlenecks
    if central is None or low is None or high is None:
        return None
    may_limit = {
        hop.hop_id
        for value, worst in zip(scenarios, bottlenecks, strict=True)
        if worst is not None
        for hop in orbits
        if _can_limit(hop, orbits, value, worst, dimension)
    }
    return Limit(
        dimension=dimension,
        barrier_ev=central.barrier_ev,
        interval_90_ev=(low.interval_90_ev[0], high.interval_90_ev[1]),
        limiting_hop_id=central.hop_id,
        alternatives=tuple(sorted(may_limit - {central.hop_id})),
    )


def _bottleneck(
    orbits: Iterable[HopBarrier], value: Callable[[HopBarrier], float], dimension: int
) -> HopBarrier | None:
    """Return the hop that makes the network percolate when opened by rising ``value``."""
    network = PeriodicNetwork()
    for hop in sorted(orbits, key=value):
        if network.add(hop.edges) >= dimension:
            return hop
    return None


def _can_limit(
    hop: HopBarrier,
    orbits: Sequence[HopBarrier],
    value: Callable[[HopBarrier], float],
    worst: HopBarrier,
    dimension: int,
) -> bool:
    """Say whether ``hop`` limits for some value in its interval, the others at ``value``.

    With the hop open from the start the others need A; with it shut they need B ≥ A; in between
    the limiting barrier equals the hop's own. It limits if its interval meets [A, B] and A < B.
    """
    others = [other for other in orbits if other is not hop]
    low, high = hop.interval_90_ev
    if hop is not worst and value(hop) < value(worst):
        least = value(worst)  # it was open already
    else:
        opened = [HopBarrier(hop.hop_id, hop.edges, -1e9, (-1e9, -1e9)), *others]
        first = _bottleneck(opened, lambda h: -1e9 if h is opened[0] else value(h), dimension)
        least = -1e9 if first is None or first is opened[0] else value(first)
    if hop is not worst and value(hop) > value(worst):
        most = value(worst)  # it was not needed
    else:
        without = _bottleneck(others, value, dimension)
        most = float("inf") if without is None else value(without)
    return least < most and low <= most and high >= least


def _independent(basis: Sequence[Vector], vector: Vector) -> bool:
    """Say whether ``vector`` is linearly independent of at most two independent others."""
    if not basis:
        return vector != _ZERO
    normal = _cross(basis[0], basis[1] if len(basis) == 2 else vector)
    if len(basis) == 1:
        return normal != _ZERO
    return sum(n * v for n, v in zip(normal, vector, strict=True)) != 0


def _cross(u: Vector, v: Vector) -> Vector:
    return (
        u[1] * v[2] - u[2] * v[1],
        u[2] * v[0] - u[0] * v[2],
        u[0] * v[1] - u[1] * v[0],
    )
