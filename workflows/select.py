"""Which hops climb to the next, dearer stage.

A hop is worth a dearer estimate when it can still change the ranking. A material is limited by
the dearest hop that its percolating network cannot avoid, so the hops on that network matter
and the others do not, however low they are. Materials are taken by what their calculation
promises for its price: the improvement to be expected on the best share of all materials, from
what is believed of each (estimate and interval), over what its hops cost.
:mod:`workflows.backtest` measures how much sooner that finds the best ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

import numpy as np
from scipy.special import ndtri

from stores.network import Edge, reached_dimension

LowHigh = tuple[float, float]

Rule = Literal["improvement", "estimate"]
"""How materials are ordered: by expected improvement over price, or by the estimate alone."""

BEST_SHARE = 0.1
"""Share of the materials that a screen wants to find, for the expected improvement."""

# Standard normal at the middles of equal shares of probability, and its 95th percentile.
_QUANTILES = ndtri((np.arange(100) + 0.5) / 100)
_HALF_INTERVAL = float(ndtri(0.95))


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
    cost
        Price of an estimate at that level, in any unit.
    """

    hop_id: str
    edges: Sequence[Edge]
    barrier_ev: float
    interval_90_ev: LowHigh
    tried: bool = False
    cost: float = 1.0


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


def expected_improvement(
    barrier_ev: np.ndarray, low_ev: np.ndarray, high_ev: np.ndarray, threshold_ev: float
) -> np.ndarray:
    """Mean of max(threshold − barrier, 0) under what is believed of each barrier, in eV.

    The belief is a normal distribution on either side of the estimate, with the 90 % interval's
    width on that side, cut at zero (expected improvement: Jones, Schonlau and Welch, J. Global
    Optim. 13, 455 (1998)).

    Parameters
    ----------
    barrier_ev, low_ev, high_ev
        Estimates and ends of their 90 % intervals, shape (n,).
    threshold_ev
        What an improvement is counted from.
    """
    below = (barrier_ev - low_ev)[:, None] / _HALF_INTERVAL
    above = (high_ev - barrier_ev)[:, None] / _HALF_INTERVAL
    width = np.where(_QUANTILES > 0, above, below)
    believed = np.maximum(barrier_ev[:, None] + width * _QUANTILES, 0.0)
    gain: np.ndarray = np.maximum(threshold_ev - believed, 0.0).mean(axis=1)
    return gain


def best_threshold(barrier_ev: np.ndarray, share: float = BEST_SHARE) -> float:
    """Return the highest barrier among the best ``share`` of the materials, at least one."""
    return float(np.sort(barrier_ev)[ceil(share * len(barrier_ev)) - 1])


def select_hops(
    materials: Iterable[Sequence[KnownHop]],
    *,
    dimension: int,
    top: int,
    rule: Rule = "improvement",
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
    rule
        ``improvement``: expected improvement over the cost of the material's hops, highest
        first; ``estimate``: lowest estimate first.
    fits
        Says of a hop id whether the level can afford its supercell; asked only of the hops
        that come up before the budget is spent.

    Returns
    -------
    Selection
    """
    networks = []
    off_network = 0
    for hops in materials:
        network = network_hops(hops, dimension)
        off_network += len(hops) - len(network)
        if network:
            networks.append(network)
    wanted = [hop for network in _in_order(networks, rule) for hop in network]
    chosen: list[KnownHop] = []
    too_large = 0
    for hop in wanted:
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


def _in_order(networks: list[list[KnownHop]], rule: Rule) -> list[list[KnownHop]]:
    """Return the materials' networks, the most promising first."""
    if not networks:
        return []
    # A material is as bad as its dearest unavoidable hop, and so are its bounds.
    best = np.array([max(hop.barrier_ev for hop in network) for network in networks])
    promise = np.zeros(len(networks))
    if rule == "improvement":
        low = np.array([max(hop.interval_90_ev[0] for hop in network) for network in networks])
        high = np.array([max(hop.interval_90_ev[1] for hop in network) for network in networks])
        price = np.array([sum(hop.cost for hop in network) for network in networks])
        promise = expected_improvement(best, low, high, best_threshold(best)) / price
    order = sorted(
        range(len(networks)), key=lambda i: (-promise[i], best[i], networks[i][0].hop_id)
    )
    return [networks[i] for i in order]


def _edges(hops: Iterable[KnownHop]) -> list[Edge]:
    return [edge for hop in hops for edge in hop.edges]
