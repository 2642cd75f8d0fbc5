"""How far cheap estimates lie from dear ones of the same hops, over a whole store.

What a screen has measured of its own levels: the points of a parity plot, and the figures that
tell whether a level's intervals can be believed on these materials.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from stores.documents import LEVELS, BarrierDoc, Level
from stores.estimates import best_estimates
from stores.screen_store import ScreenStore


@dataclass(frozen=True)
class Pair:
    """One hop estimated at two levels."""

    hop_id: str
    candidate_id: str
    cheap: BarrierDoc
    dear: BarrierDoc

    @property
    def residual_ev(self) -> float:
        """Dear minus cheap barrier, in eV."""
        assert self.dear.barrier_ev is not None
        assert self.cheap.barrier_ev is not None
        return self.dear.barrier_ev - self.cheap.barrier_ev

    @property
    def inside(self) -> bool:
        """Whether the dear barrier lies in the cheap one's 90 % interval."""
        assert self.dear.barrier_ev is not None
        assert self.cheap.interval_90_ev is not None
        low, high = self.cheap.interval_90_ev
        return low <= self.dear.barrier_ev <= high


@dataclass(frozen=True)
class Residuals:
    """Statistics of the pairs of two levels; energies in eV.

    Attributes
    ----------
    bias_ev
        Mean of dear minus cheap.
    mae_ev
        Mean absolute residual.
    sd_ev
        Standard deviation of the residuals, None for a single pair.
    coverage_90
        Share of the dear barriers inside the cheap 90 % intervals; 0.9 if these are right.
    """

    cheap: Level
    dear: Level
    n: int
    bias_ev: float
    mae_ev: float
    sd_ev: float | None
    coverage_90: float


def pairs(store: ScreenStore, cheap: Level, dear: Level) -> Iterator[Pair]:
    """Yield the hops that have a finished estimate at both levels, by hop id."""
    dear_ones: dict[str, list[BarrierDoc]] = defaultdict(list)
    for doc in store.find(BarrierDoc, {"level": dear, "status": "done"}):
        dear_ones[doc.hop_id].append(doc)
    cheap_ones: dict[str, list[BarrierDoc]] = defaultdict(list)
    wanted = {"level": cheap, "status": "done", "hop_id": {"$in": sorted(dear_ones)}}
    for doc in store.find(BarrierDoc, wanted):
        cheap_ones[doc.hop_id].append(doc)
    for hop_id in sorted(cheap_ones):
        low = best_estimates(cheap_ones[hop_id])[hop_id]
        high = best_estimates(dear_ones[hop_id])[hop_id]
        yield Pair(hop_id, low.candidate_id, low, high)


def residuals(store: ScreenStore) -> list[Residuals]:
    """Return the statistics of every two levels that share hops."""
    found = []
    for cheap, dear in combinations(LEVELS, 2):
        both = list(pairs(store, cheap, dear))
        if not both:
            continue
        values = [pair.residual_ev for pair in both]
        found.append(
            Residuals(
                cheap=cheap,
                dear=dear,
                n=len(both),
                bias_ev=statistics.fmean(values),
                mae_ev=statistics.fmean(map(abs, values)),
                sd_ev=statistics.stdev(values) if len(values) > 1 else None,
                coverage_90=sum(pair.inside for pair in both) / len(both),
            )
        )
    return found
