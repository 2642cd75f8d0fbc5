"""Where a model is right: paths of one host, scenarios of use, kinds of structure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from em_model.data import Band, assign_hosts

DIFFERENT_EV = 0.1
"""Barriers of two paths that lie closer are not asked to be told apart."""

SCENARIOS = {
    "A": "new path in a known host",
    "B": "new host of known elements",
    "C": "host with an element never seen",
}
"""What a band is to a model, by what it was trained on."""


def told_apart(predicted: np.ndarray, known: np.ndarray, hosts: Sequence[str]) -> dict[str, Any]:
    """Of paths of one host whose barriers differ, how many pairs are put in the right order.

    Guessing gives a half.

    Parameters
    ----------
    predicted, known
        Barriers in eV, shape (n,).
    hosts
        Host of each path.

    Returns
    -------
    dict
        ``{"pairs", "hosts", "share"}``; pairs differ by :data:`DIFFERENT_EV` or more, ``share``
        is None where there is no such pair.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for index, host in enumerate(hosts):
        members[host].append(index)
    right, pairs, with_pairs = 0.0, 0, 0
    for paths in members.values():
        before = pairs
        for i, j in combinations(paths, 2):
            if abs(known[i] - known[j]) >= DIFFERENT_EV:
                pairs += 1
                # Two equal answers are half right: a coin would be.
                sign = np.sign(known[i] - known[j]) * np.sign(predicted[i] - predicted[j])
                right += (1 + float(sign)) / 2
        with_pairs += pairs > before
    return {"pairs": pairs, "hosts": with_pairs, "share": right / pairs if pairs else None}


def scenarios(bands: Sequence[Band], training: Sequence[Band]) -> np.ndarray:
    """Scenario of each band for a model trained on ``training``, a key of :data:`SCENARIOS`.

    Returns
    -------
    np.ndarray
        Shape (len(bands),), of strings.
    """
    # Hosts are named together: a framework may join systems that each set alone keeps apart.
    named = assign_hosts([replace(band, host=None) for band in [*training, *bands]])
    hosts = {band.host for band in named[: len(training)]}
    elements = {symbol for band in training for symbol in band.species}
    found = [
        "C" if not elements.issuperset(band.species) else "A" if band.host in hosts else "B"
        for band in named[len(training) :]
    ]
    return np.array(found)


def by_group(
    predicted: np.ndarray, known: np.ndarray, groups: Sequence[str], least: int = 1
) -> dict[str, dict[str, Any]]:
    """Number, mean and median absolute error, and mean error of each group, largest group first.

    Parameters
    ----------
    predicted, known
        Barriers in eV, shape (n,).
    groups
        Group of each band.
    least
        Groups of fewer bands are put together as ``other``.
    """
    count = Counter(groups)
    names = np.array([g if g and count[g] >= least else "other" for g in groups])
    found = {}
    for name, n in sorted(Counter(names.tolist()).items(), key=lambda item: (-item[1], item[0])):
        error = (predicted - known)[names == name]
        found[name] = {
            "n": n,
            "mae_ev": float(np.abs(error).mean()),
            "median_error_ev": float(np.median(np.abs(error))),
            "bias_ev": float(error.mean()),
        }
    return found
