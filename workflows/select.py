"""Which hops climb to the next, dearer stage.

A hop is worth a dearer estimate when it can still change the ranking. A material is limited by
the dearest hop that its percolating network cannot avoid, so the hops on that network matter
and the others do not, however low they are; and materials are taken in the order of what they
may at best turn out to be: the lower bound of their interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from stores.network import Edge, reached_dimension

LowHigh = tuple[float, float]


@dataclass(frozen=True)
class KnownHop:
    """What is known of a hop when it is selected.

    Attributes
    ----------
    hop_id
        Content hash of the hop.
    edges
        All equivalents ``(i, j, a, b, c)`` in the primitive cell.
    barrier_ev, interval_90_ev
        Best available estimate (dearest level).
    tried
        An estimate at the level that is being filled exists, or failed: nothing to gain.
    """

    hop_id: str
    edges: Sequence[Edge]
    barrier_ev: float
    interval_90_ev: LowHigh
    tried: bool = False


@dataclass(frozen=True)
class Selection:
    """The chosen hops, most promising first, and why the others stayed."""

    hop_ids: tuple[str, ...]
    num_tried: int
    num_too_large: int
    num_off_network: int
    num_over_budget: int


def network_hops(hops: Iterable[KnownHop], dimension: int) -> list[KnownHop]:
    """Return the hops of the cheapest percolating network, its limiting hop first.

    Hops are added by rising barrier until the network reaches ``dimension`` (as for the
    limiting barrier); those added last and needed matter most. A hop without which the network
    still percolates is left out.
    """
    added: list[KnownHop] = []
    for hop in sorted(hops, key=lambda h: (h.barrier_ev, h.hop_id)):
        added.append(hop)
        if reached_dimension(_edges(added)) >= dimension:
            break
    else:
        return []
    needed = list(added)
    for hop in reversed(added[:-1]):
        without = [h for h in needed if h is not hop]
        if reached_dimension(_edges(without)) >= dimension:
            needed = without
    return needed[::-1]


def select_hops(
    materials: Iterable[Sequence[KnownHop]],
    *,
    dimension: int,
    top: int,
    fits: Callable[[str], bool] = lambda hop_id: True,
) -> Selection:
    """Choose at most ``top`` hops over all materials.

    Parameters
    ----------
    materials
        The hops of each material.
    dimension
        Percolation wanted, 1 to 3.
    top
        The budget, in hops; hops already tried at this level count against it, so that a
        screen that goes on does not spend its budget twice.
    fits
        Says of a hop id whether the level can afford its supercell; asked only of the hops
        that come up before the budget is spent.

    Returns
    -------
    Selection
    """
    wanted: list[tuple[float, float, int, str, KnownHop]] = []
    off_network = 0
    for hops in materials:
        network = network_hops(hops, dimension)
        off_network += len(hops) - len(network)
        if not network:
            continue
        # The material's bounds are those of its dearest unavoidable hop.
        low = max(hop.interval_90_ev[0] for hop in network)
        best = max(hop.barrier_ev for hop in network)
        for place, hop in enumerate(network):
            wanted.append((low, best, place, hop.hop_id, hop))
    wanted.sort(key=lambda entry: entry[:4])
    chosen: list[KnownHop] = []
    too_large = 0
    for *_, hop in wanted:
        if len(chosen) == top:
            break
        if fits(hop.hop_id):
            chosen.append(hop)
        else:
            too_large += 1
    return Selection(
        hop_ids=tuple(hop.hop_id for hop in chosen if not hop.tried),
        num_tried=sum(hop.tried for hop in chosen),
        num_too_large=too_large,
        num_off_network=off_network,
        num_over_budget=len(wanted) - len(chosen) - too_large,
    )


def _edges(hops: Iterable[KnownHop]) -> list[Edge]:
    return [edge for hop in hops for edge in hop.edges]
