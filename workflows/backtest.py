"""What a rule of selection is worth: dear calculations spent until the best materials are known.

Literature barriers stand in for DFT. A band model that has not seen the hosts says what is
believed of each path, a rule orders the paths, and the best materials count as found once a path
of theirs below the decile's barrier has been paid for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from workflows.select import BEST_SHARE, best_threshold, expected_improvement

BUDGETS: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
"""Shares of the cost of all paths at which a table looks."""

RANDOM_ORDERS = 200
"""Orders that the figure of chance is the mean of."""


@dataclass(frozen=True)
class Paths:
    """Paths with what was believed and what was true of them, one row each.

    Attributes
    ----------
    hosts
        Which paths belong to one material.
    known_ev
        Literature barriers.
    predicted_ev, interval_90_ev
        What a model says that did not see the host, shapes (n,) and (n, 2).
    cost
        Price of each path's DFT-NEB, any unit.
    other_ev
        Barriers of a further, cheaper method by its name, e.g. an interatomic potential.
    """

    hosts: Sequence[str]
    known_ev: np.ndarray
    predicted_ev: np.ndarray
    interval_90_ev: np.ndarray
    cost: np.ndarray
    other_ev: Mapping[str, np.ndarray]


def orders(paths: Paths, share: float = BEST_SHARE) -> dict[str, np.ndarray]:
    """Order the paths by each rule, first to be computed first."""
    predicted, (low, high) = paths.predicted_ev, paths.interval_90_ev.T
    material = np.unique(list(paths.hosts), return_inverse=True)[1]
    estimate = np.full(material.max() + 1, np.inf)
    np.minimum.at(estimate, material, predicted)
    gain = expected_improvement(predicted, low, high, best_threshold(estimate, share))
    keys = {
        "expected improvement over price": -gain / paths.cost,
        "expected improvement": -gain,
        "lowest estimate": predicted,
        "lowest estimate over price": predicted * paths.cost,
        "lowest bound": low,
        "cheapest": paths.cost,
        **{f"lowest {name} barrier": values for name, values in paths.other_ev.items()},
        "perfect knowledge": paths.known_ev,
    }
    # ties by the estimate, then by the row
    return {name: np.lexsort((predicted, key)) for name, key in keys.items()}


def found(paths: Paths, order: np.ndarray, share: float = BEST_SHARE) -> np.ndarray:
    """Share of the best materials found after each path of an order, shape (n,)."""
    material = np.unique(list(paths.hosts), return_inverse=True)[1]
    true = np.full(material.max() + 1, np.inf)
    np.minimum.at(true, material, paths.known_ev)
    wanted = ceil(share * len(true))
    threshold = best_threshold(true, share)
    best = np.zeros(len(true), dtype=bool)
    best[np.argsort(true, kind="stable")[:wanted]] = True
    proves = (paths.known_ev <= threshold) & best[material]
    first = np.zeros(len(order), dtype=bool)
    seen: set[int] = set()
    for place, row in enumerate(order):
        if proves[row] and material[row] not in seen:
            seen.add(int(material[row]))
            first[place] = True
    return np.cumsum(first) / wanted


def backtest(paths: Paths, *, share: float = BEST_SHARE, seed: int = 0) -> list[dict[str, Any]]:
    """Measure every rule, and chance.

    Returns
    -------
    list of dict
        ``rule``; ``spent`` and ``found``, shares of the whole cost and of the best materials
        along the order; ``found_at``, the share found within each of :data:`BUDGETS`; and
        ``spent_for_90``, the share of the cost until nine tenths were found.
    """
    rows = [_row(paths, name, order, share) for name, order in orders(paths, share).items()]
    rng = np.random.default_rng(seed)
    n = len(paths.known_ev)
    chance = [_row(paths, "random", rng.permutation(n), share) for _ in range(RANDOM_ORDERS)]
    grid = np.linspace(0, 1, n + 1)[1:]
    curve = np.mean([_at(r["spent"], r["found"], grid) for r in chance], axis=0)
    rows.append(
        {
            "rule": "random",
            "spent": grid,
            "found": curve,
            "found_at": {b: float(np.mean([r["found_at"][b] for r in chance])) for b in BUDGETS},
            "spent_for_90": float(np.mean([r["spent_for_90"] for r in chance])),
        }
    )
    return rows


def _row(paths: Paths, name: str, order: np.ndarray, share: float) -> dict[str, Any]:
    spent = np.cumsum(paths.cost[order]) / paths.cost.sum()
    curve = found(paths, order, share)
    return {
        "rule": name,
        "spent": spent,
        "found": curve,
        "found_at": dict(zip(BUDGETS, _at(spent, curve, np.array(BUDGETS)).tolist(), strict=True)),
        "spent_for_90": float(spent[np.searchsorted(curve, 0.9 - 1e-9)]),
    }


def _at(spent: np.ndarray, curve: np.ndarray, budgets: np.ndarray) -> np.ndarray:
    """Share found by the last path that each budget still pays for."""
    place = np.searchsorted(spent, budgets + 1e-9, side="right")
    return np.concatenate([[0.0], curve])[place]
