"""Classical baselines: forests and boosted trees on matminer and hand-made pathway features.

As the classical models of arXiv 2508.06436: composition and structure features of matminer,
nine features of the path, correlated ones filtered out, then a random forest (RFR) or gradient
boosting (GBR). matminer is the extra ``classical``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from pymatgen.core import Composition, Lattice, Structure
from scipy.spatial import ConvexHull, Voronoi
from sklearn.base import RegressorMixin
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor

from em_model.data import Band, deal_folds, learning_subset, require_barriers
from em_model.errors import BadInput

MAX_CORRELATION = 0.95
"""Of two features more alike than this (absolute Pearson r), the later one is dropped."""

PATHWAY = (
    "path_length_ang",
    "end_bond_ang",
    "end_coordination",
    "end_voronoi_volume_ang3",
    "saddle_bond_ang",
    "saddle_mean_bond_ang",
    "saddle_coordination",
    "saddle_voronoi_volume_ang3",
    "saddle_voronoi_largest_face_ang2",
)
"""The nine hand-made features of a path; ``saddle`` is the image with the shortest bond."""

_NEIGHBOURHOOD_ANG = 9.0

MODELS: dict[str, Callable[[int], RegressorMixin]] = {
    "RFR": lambda seed: RandomForestRegressor(
        n_estimators=500, max_features=0.33, min_samples_leaf=2, random_state=seed, n_jobs=1
    ),
    "GBR": lambda seed: GradientBoostingRegressor(
        n_estimators=400,
        learning_rate=0.03,
        max_depth=4,
        subsample=0.7,
        max_features=0.33,
        random_state=seed,
    ),
}
"""The two regressors by name."""


def pathway_features(band: Band) -> np.ndarray:
    """The nine features of :data:`PATHWAY`.

    Coordination is Hoppe's effective coordination number (Z. Kristallogr. 150, 23 (1979)); the
    other images of the ion are no neighbours of it.

    Returns
    -------
    np.ndarray
        Shape (9,).
    """
    sites = [_surroundings(band, position) for position in band.path_cart]
    ends, inner = (sites[0], sites[-1]), sites[1:-1] or sites
    saddle = min(inner, key=lambda points: float(np.linalg.norm(points[0])))
    bonds, numbers, volumes, _ = zip(*map(_shell, ends), strict=True)
    bond, number, volume, face = _shell(saddle)
    mean_bond = float(np.linalg.norm(saddle[: max(1, round(number))], axis=1).mean())
    return np.array(
        [
            band.length_ang,
            np.mean(bonds),
            np.mean(numbers),
            np.mean(volumes),
            bond,
            mean_bond,
            number,
            volume,
            face,
        ]
    )


def _surroundings(band: Band, position: np.ndarray) -> np.ndarray:
    """Vectors from ``position`` to the host's atoms around it, nearest first, shape (m, 3)."""
    host, radius = band.frac_coords[band.host_sites], _NEIGHBOURHOOD_ANG
    while True:
        points: Any = Lattice(band.lattice).get_points_in_sphere(
            host, position, radius, zip_results=False
        )
        vectors = points[0] @ band.lattice - position
        distance = np.linalg.norm(vectors, axis=1)
        if (distance > 0.1).sum() >= 30:
            break
        radius *= 1.3
    keep = distance > 0.1
    order = np.argsort(distance[keep], kind="stable")
    return np.asarray(vectors[keep][order])


def _shell(vectors: np.ndarray) -> tuple[float, float, float, float]:
    """(shortest bond, effective coordination, Voronoi volume, largest Voronoi face) at 0."""
    distance = np.linalg.norm(vectors, axis=1)
    mean = distance[0]
    for _ in range(20):
        weights = np.exp(1 - (distance / mean) ** 6)
        mean = float((distance * weights).sum() / weights.sum())
    number = float(np.exp(1 - (distance / mean) ** 6).sum())

    diagram = Voronoi(np.vstack([np.zeros(3), vectors]))
    cell = diagram.regions[diagram.point_region[0]]
    if -1 in cell:
        raise ValueError("the Voronoi cell of the ion is open; its surroundings are too small")
    faces = [
        _polygon_area(diagram.vertices[ridge])
        for points, ridge in zip(diagram.ridge_points, diagram.ridge_vertices, strict=True)
        if 0 in points
    ]
    return float(distance[0]), number, float(ConvexHull(diagram.vertices[cell]).volume), max(faces)


def _polygon_area(corners: np.ndarray) -> float:
    """Area of a flat polygon whose corners are in order, shape (k, 3)."""
    spokes = corners[1:] - corners[0]
    return float(np.linalg.norm(np.cross(spokes[:-1], spokes[1:]).sum(axis=0)) / 2)


def features(bands: Sequence[Band]) -> tuple[np.ndarray, list[str]]:
    """Matminer and pathway features of each band, before filtering.

    Returns
    -------
    tuple
        Array of shape (len(bands), f), and the f names.

    Raises
    ------
    BadInput
        When matminer is not installed.
    """
    try:
        from matminer.featurizers.base import MultipleFeaturizer
        from matminer.featurizers.composition import (
            ElementProperty,
            Stoichiometry,
            ValenceOrbital,
        )
        from matminer.featurizers.structure import DensityFeatures
    except ImportError:
        raise BadInput(
            "RFR and GBR need matminer, which is not installed: pip install 'hopscreen[classical]'"
        ) from None
    composition = MultipleFeaturizer(
        [ElementProperty.from_preset("magpie"), Stoichiometry(), ValenceOrbital()]
    )
    structure = DensityFeatures()
    rows = []
    for band in bands:
        # The host with the ion on its initial site: the structure before the hop.
        sites = [band.band_sites[0], *band.host_sites.tolist()]
        species = [band.species[s] for s in sites]
        crystal = Structure(band.lattice, species, band.frac_coords[sites])
        rows.append(
            [
                *composition.featurize(Composition(crystal.composition.reduced_formula)),
                *structure.featurize(crystal),
                Composition({band.working_ion: 1}).elements[0].Z,
                *pathway_features(band),
            ]
        )
    names = [*composition.feature_labels(), *structure.feature_labels(), "working_ion_number"]
    return np.array(rows, dtype=float), [*names, *PATHWAY]


def uncorrelated(x: np.ndarray) -> np.ndarray:
    """Columns to keep: those that vary and repeat no column kept before.

    Columns are gone through from the last, so that a pathway feature stays and the matminer
    feature that repeats it goes.

    Parameters
    ----------
    x
        Training rows, shape (n, f).

    Returns
    -------
    np.ndarray
        Rising column indices.
    """
    vary = np.flatnonzero(np.isfinite(x).all(axis=0) & (x.std(axis=0) > 1e-12))
    r = np.abs(np.corrcoef(x[:, vary], rowvar=False)).reshape(len(vary), len(vary))
    kept: list[int] = []
    for column in range(len(vary) - 1, -1, -1):
        if all(r[column, other] <= MAX_CORRELATION for other in kept):
            kept.append(column)
    return np.sort(vary[kept])


def cross_validate(
    name: str,
    bands: Sequence[Band],
    *,
    split: str = "hosts",
    folds: int = 5,
    only: Sequence[int] | None = None,
    records: int | None = None,
    seed: int = 0,
    table: tuple[np.ndarray, list[str]] | None = None,
) -> dict[str, Any]:
    """Out-of-fold predictions of a classical model.

    Features are filtered on each training fold alone.

    Parameters
    ----------
    name
        A key of :data:`MODELS`.
    bands
        Bands with barriers.
    split, folds, only, records
        As in :func:`em_model.paper.training.cross_validate`.
    seed
        Of folds and model.
    table
        What :func:`features` gave for these bands, when it is known already.

    Returns
    -------
    dict
        ``{"model", "split", "folds", "seed", "records", "predictions": {band id: eV}}``.
    """
    if name not in MODELS:
        raise BadInput(f"model: {name!r} is none of {', '.join(MODELS)}")
    targets = require_barriers(bands)
    x, _ = table or features(bands)
    fold_of = deal_folds(bands, split, folds, seed)
    predictions: dict[str, float] = {}
    for fold in range(folds) if only is None else only:
        train = learning_subset(fold_of, fold, records, seed)
        test = np.flatnonzero(fold_of == fold)
        columns = uncorrelated(x[train])
        model = MODELS[name](seed).fit(x[train][:, columns], targets[train])
        found = model.predict(x[test][:, columns])
        predictions |= {
            bands[i].id: round(float(p), 5) for i, p in zip(test.tolist(), found, strict=True)
        }
    return {
        "model": name,
        "split": split,
        "folds": folds,
        "seed": seed,
        "records": records,
        "predictions": predictions,
    }
