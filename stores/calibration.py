"""Cheap levels calibrated by the hops that dear ones computed too.

A band model, a potential and a DFT code have errors of their own, and a ranking that mixes them
would mistake these for differences between materials. Where hops of a store have an estimate of
a cheap level and of a dearer one, their residuals (dear minus cheap) say how far the cheap level
lies off on just these materials:

* the **value** moves by a line through the residuals over the cheap value, fitted by Theil–Sen
  [1]_, which outliers hardly move. A line and not their mean, for the hops that climbed were
  chosen by their cheap value: among them the mean residual is biased, the residual at a given
  value is not. Beyond the values of the pairs the correction stays what it is at their edge.
* the **interval** is stretched by one factor, so that it would have held nine tenths of the
  pairs: the conformal quantile [2]_ of their residuals in units of their own half widths.

Estimates with a word of warning (a demo preset) calibrate nothing; below :data:`MIN_PAIRS` pairs
of one model, its own interval stands. Corrections are rounded, and those that a ranking was made
with stay until the new ones lie more than a step of rounding from them: a few new pairs change
nothing, and the ranking only has to be made anew when they do.

References
----------
.. [1] P. K. Sen, J. Am. Stat. Assoc. 63, 1379 (1968).
.. [2] V. Vovk, A. Gammerman, G. Shafer, Algorithmic Learning in a Random World (Springer, 2005);
   normalised residuals: H. Papadopoulos, A. Gammerman, V. Vovk, Proc. AIA 2008, 64.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from stores.documents import LEVELS, BarrierDoc, Interval, Level, Provenance
from stores.estimates import best_estimates
from stores.screen_store import ScreenStore

MIN_PAIRS = 20
"""Fewest pairs that calibrate: below 9 the conformal quantile does not exist at all."""

MOST_HOPS = 1000
"""Hops of a dear level that are looked at, by rising id. Ids are hashes, so that they are a fair
sample, and the same one for everybody; a thousand say all there is to say."""

_LEAST_HALF_WIDTH_EV = 0.01
_STEP_RANGE_EV = 0.1
_STEP_EV = 0.02
_STEP_STRETCH = 0.1
_UNREAD = ("profile", "settings", "warnings", "error")


@dataclass(frozen=True)
class Calibration:
    """How the estimates of one model are corrected.

    Attributes
    ----------
    level, model
        Whose estimates.
    range_ev
        Cheap values between which the correction is a line.
    shift_ev
        Correction at either end, in eV.
    stretch
        Factor on the half widths of the intervals.
    """

    level: Level
    model: str
    range_ev: Interval
    shift_ev: Interval
    stretch: float

    def apply(self, barrier_ev: float, interval_90_ev: Interval) -> tuple[float, Interval]:
        """Return a corrected barrier and its interval, in eV; neither falls below zero."""
        value = max(0.0, barrier_ev + float(np.interp(barrier_ev, self.range_ev, self.shift_ev)))
        below, above = _half_widths(barrier_ev, interval_90_ev)
        return value, (max(0.0, value - self.stretch * below), value + self.stretch * above)

    def near(self, other: Calibration) -> bool:
        """Tell whether the two correct alike but for a step of rounding."""
        steps = [_STEP_RANGE_EV] * 2 + [_STEP_EV] * 2 + [_STEP_STRETCH]
        mine = np.array([*self.range_ev, *self.shift_ev, self.stretch])
        theirs = np.array([*other.range_ev, *other.shift_ev, other.stretch])
        return bool((np.abs(mine - theirs) < 1.5 * np.array(steps)).all())


@dataclass(frozen=True)
class Calibrations:
    """The calibrations of a store, by level and model.

    Attributes
    ----------
    by_model
        Empty where no model has enough pairs.
    pairs
        How many pairs each rests on. Two are equal if they correct alike, whatever the pairs: a
        further one that moves no correction changes no ranking.
    """

    by_model: dict[tuple[Level, str], Calibration]
    pairs: dict[tuple[Level, str], int] = field(compare=False)

    def apply(self, doc: BarrierDoc) -> tuple[float, Interval, bool]:
        """Return value, interval (eV) and whether they were corrected."""
        barrier_ev, interval = doc.estimate_ev()
        known = self.by_model.get((doc.level, model_key(doc.provenance)))
        if known is None:
            return barrier_ev, interval, False
        return *known.apply(barrier_ev, interval), True

    def unless_near(self, kept: Calibrations) -> Calibrations:
        """Return the corrections ``kept`` from before, if these hardly differ, else these."""
        alike = self.by_model.keys() == kept.by_model.keys() and all(
            one.near(kept.by_model[key]) for key, one in self.by_model.items()
        )
        return Calibrations(kept.by_model, self.pairs) if alike else self

    def as_rows(self) -> list[dict[str, Any]]:
        """Return plain mappings, for a document or a table."""
        return [
            {**asdict(one), "pairs": self.pairs[key]} for key, one in sorted(self.by_model.items())
        ]

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]]) -> Calibrations:
        """Read what :meth:`as_rows` gave."""
        by_model, pairs = {}, {}
        for row in rows:
            fields = dict(row)
            count = fields.pop("pairs")
            for name in ("range_ev", "shift_ev"):
                fields[name] = tuple(fields[name])
            one = Calibration(**fields)
            by_model[one.level, one.model], pairs[one.level, one.model] = one, count
        return cls(by_model, pairs)


UNCALIBRATED = Calibrations({}, {})
"""Every level as it speaks for itself."""


def model_key(origin: Provenance) -> str:
    """Name a model: its name and the hash of its weights."""
    model = origin.model
    return f"{model.name}:{(model.sha256 or '')[:8]}" if model else ""


class Pair(NamedTuple):
    """A hop estimated twice; energies in eV."""

    cheap_ev: float
    interval_90_ev: Interval
    dear_ev: float


def calibrate(store: ScreenStore) -> Calibrations:
    """Calibrate each cheap model of a store by the hops with a dearer estimate.

    The dearer estimate is the hop's best one; if that is of a level which is calibrated itself
    (a potential against DFT), its corrected value counts. The result depends on the documents
    alone, not on their order.
    """
    estimates = _pairable(store)
    found = UNCALIBRATED
    for place in reversed(range(len(LEVELS) - 1)):
        level, dearer = LEVELS[place], LEVELS[place + 1 :]
        pairs: dict[str, list[Pair]] = defaultdict(list)
        for hop_id, docs in estimates.items():
            above = [doc for doc in docs if doc.level in dearer and doc.label is None]
            for doc in docs if above else ():
                if doc.level == level:
                    truth_ev = found.apply(best_estimates(above)[hop_id])[0]
                    pair = Pair(*doc.estimate_ev(), truth_ev)
                    pairs[model_key(doc.provenance)].append(pair)
        enough = {model: sample for model, sample in pairs.items() if len(sample) >= MIN_PAIRS}
        found = Calibrations(
            found.by_model | {(level, name): _fit(level, name, enough[name]) for name in enough},
            found.pairs | {(level, name): len(enough[name]) for name in enough},
        )
    return found


def _fit(level: Level, model: str, pairs: Sequence[Pair]) -> Calibration:
    cheap_ev = np.array([value for value, _, _ in pairs])
    dear_ev = np.array([truth for _, _, truth in pairs])
    slope = 0.0
    if np.ptp(cheap_ev) > 0:
        # Steeper than −1 would turn the order of the cheap values round.
        slope = max(float(stats.theilslopes(dear_ev - cheap_ev, cheap_ev)[0]), -1.0)
    intercept = float(np.median(dear_ev - cheap_ev - slope * cheap_ev))
    low, high = _rounded(cheap_ev.min(), _STEP_RANGE_EV), _rounded(cheap_ev.max(), _STEP_RANGE_EV)
    first = _rounded(intercept + slope * low, _STEP_EV)
    last = max(_rounded(intercept + slope * high, _STEP_EV), first + low - high)
    line = Calibration(level, model, (low, high), (first, last), stretch=1.0)
    misses = []
    for value_ev, interval, truth_ev in pairs:
        centre_ev = line.apply(value_ev, interval)[0]
        below, above = _half_widths(value_ev, interval)
        misses.append(abs(truth_ev - centre_ev) / (above if truth_ev > centre_ev else below))
    quantile = sorted(misses)[math.ceil((len(misses) + 1) * 0.9) - 1]
    return replace(line, stretch=_rounded(math.ceil(quantile / _STEP_STRETCH) * _STEP_STRETCH))


def _rounded(value: float, step: float = _STEP_STRETCH) -> float:
    return round(round(value / step) * step, 6)


def _half_widths(value_ev: float, interval_90_ev: Interval) -> Interval:
    low, high = interval_90_ev
    return max(value_ev - low, _LEAST_HALF_WIDTH_EV), max(high - value_ev, _LEAST_HALF_WIDTH_EV)


def _pairable(store: ScreenStore) -> dict[str, list[BarrierDoc]]:
    """Return the finished estimates of hops that have a dear one, by hop id in order."""
    ids: set[str] = set()
    for level in LEVELS[1:]:
        rows = store.barriers._collection.find(
            {"level": level, "status": "done"}, {"hop_id": 1}, sort=[("hop_id", 1)], limit=MOST_HOPS
        )
        ids |= {row["hop_id"] for row in rows}
    found: dict[str, list[BarrierDoc]] = defaultdict(list)
    done = {"hop_id": {"$in": sorted(ids)}, "status": "done"}
    for doc in store.find(BarrierDoc, done, without=_UNREAD) if ids else ():
        found[doc.hop_id].append(doc)
    return dict(sorted(found.items()))
