"""Forest, Gaussian process and intervals."""

from __future__ import annotations

import numpy as np
import pytest

from em_model.conformal import Calibration, Evidence, cross_calibrated
from em_model.descriptors import Descriptors
from em_model.elements import bond_valence_lengths
from em_model.features import FEATURE_NAMES, element_shares, path_features
from em_model.kernel import NOISE, POWER, TERMS, Kernel
from em_model.trees import Forest, TreeSettings


@pytest.fixture(scope="module")
def table() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 6))
    return x, np.abs(x[:, 0] + 0.3 * x[:, 1] ** 2) + 0.1


def test_forest_answers_as_scikit_learn(table):
    from sklearn.ensemble import ExtraTreesRegressor

    x, y = table
    settings = TreeSettings(trees=20)
    forest = Forest.fit(x, y, settings, seed=3)
    grown = ExtraTreesRegressor(
        20, min_samples_leaf=settings.min_leaf, max_features=settings.max_features, random_state=3
    ).fit(x.astype(np.float32), y)
    new = np.random.default_rng(1).normal(size=(50, 6))
    mean, spread = forest.predict(new)
    np.testing.assert_allclose(mean, grown.predict(new.astype(np.float32)), rtol=1e-5)
    assert (spread > 0).all()
    again = Forest.from_tensors(forest.tensors()).predict(new)
    assert np.array_equal(again[0], mean)


def described(n: int, seed: int) -> Descriptors:
    rng = np.random.default_rng(seed)
    return Descriptors(
        path=rng.normal(size=(n, 6)),
        geometry=rng.normal(size=(n, 9)),
        chemistry=rng.normal(size=(n, 8)),
        shares=rng.dirichlet(np.ones(4), size=n),
        ion=rng.normal(size=(n, 3)),
        trunk=rng.normal(size=(n, 7)),
    )


def test_process_answers_as_scikit_learn():
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel

    known, asked = described(60, 0), described(20, 1)
    roots = np.abs(known.path[:, 0] + 0.3 * known.path[:, 1] ** 2) + 0.1
    kernel = Kernel.fit(known, roots, np.ones(60))

    def points(of: Descriptors) -> tuple[np.ndarray, list[int]]:
        """All blocks side by side, each scaled so that the kernel's units are one."""
        columns = {**vars(of), "shares": np.sqrt(of.shares)}
        parts = [
            np.clip((columns[name] - block.mean) / block.std, -3, 3) / np.sqrt(block.unit)
            for name, block in kernel.blocks.items()
        ]
        return np.hstack(parts), [part.shape[1] for part in parts]

    x, widths = points(known)
    terms = []
    for share, weights in TERMS:
        lengths = [1 / np.sqrt(weights.get(name, 1e-12)) for name in kernel.blocks]
        terms.append(ConstantKernel(share, "fixed") * RBF(np.repeat(lengths, widths), "fixed"))
    process = GaussianProcessRegressor(sum(terms[1:], terms[0]), alpha=NOISE)
    target = roots ** (2 * POWER)
    process.fit(x, target - target.mean())
    wanted = process.predict(points(asked)[0]) + target.mean()
    # Points are kept in half precision.
    np.testing.assert_allclose(kernel.roots(asked) ** (2 * POWER), wanted, atol=3e-3)
    again = Kernel.from_tensors(kernel.tensors())
    assert np.array_equal(again.roots(asked), kernel.roots(asked))


def test_process_believes_heavy_records():
    known = described(40, 2)
    roots = np.full(40, 0.7)
    roots[3] = 1.2
    light, heavy = np.ones(40), np.ones(40)
    light[3], heavy[3] = 0.01, 100.0
    at = known.rows(np.array([3]))
    assert Kernel.fit(known, roots, heavy).roots(at)[0] == pytest.approx(1.2, abs=0.03)
    assert Kernel.fit(known, roots, light).roots(at)[0] < 0.85


def synthetic(n: int, seed: int) -> tuple[Evidence, np.ndarray]:
    """Members whose errors grow with the forest's spread."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.3, 1.5, size=n)
    spread = rng.uniform(0.02, 0.3, size=n)
    common = rng.normal(size=n) * spread
    roots = truth[:, None] + common[:, None] + 0.03 * rng.normal(size=(n, 2))
    ions = tuple(rng.choice(["Li", "Na", "Al"], p=[0.6, 0.385, 0.015], size=n))
    return Evidence(roots, spread, ions), truth**2


def test_intervals_cover_nine_in_ten_of_data_never_seen():
    evidence, barriers = synthetic(600, 0)
    calibration = Calibration.fit(evidence, barriers)
    fresh, truth = synthetic(4000, 1)
    _, interval = calibration.apply(fresh)
    covered = (truth >= interval[:, 0]) & (truth <= interval[:, 1])
    assert 0.87 < covered.mean() < 0.93
    ions = np.array(fresh.ions)
    for ion in ("Li", "Na"):
        assert 0.86 < covered[ions == ion].mean() < 0.94
    assert "Al" not in calibration.ion_quantile
    width = interval[:, 1] - interval[:, 0]
    sure = fresh.spread < 0.1
    assert np.median(width[sure]) < 0.6 * np.median(width[~sure])


def test_cross_calibration_never_uses_a_fold_on_itself():
    evidence, barriers = synthetic(200, 3)
    folds = np.arange(200) % 5
    value, interval = cross_calibrated(evidence, barriers, folds)
    changed = barriers.copy()
    changed[folds == 2] *= 3.0
    value_2, interval_2 = cross_calibrated(evidence, changed, folds)
    assert np.array_equal(value[folds == 2], value_2[folds == 2])
    assert np.array_equal(interval[folds == 2], interval_2[folds == 2])
    assert not np.array_equal(interval[folds == 1], interval_2[folds == 1])


def test_a_calibration_survives_its_card():
    calibration = Calibration.fit(*synthetic(100, 4))
    assert sum(calibration.shares) == pytest.approx(1)
    assert Calibration.from_dict(calibration.as_dict()) == calibration


def test_features_have_names_and_known_values(band):
    values = dict(zip(FEATURE_NAMES, path_features(band), strict=True))
    assert values["length"] == pytest.approx(band.length_ang)
    assert values["bend"] == pytest.approx(0, abs=1e-9)
    host = [s for i, s in enumerate(band.species) if i >= 5]
    assert values["ion_share"] == pytest.approx(host.count("Li") / len(host))
    nearest = min(
        np.linalg.norm((band.frac_coords[i] + shift) @ band.lattice - band.path_cart[2])
        for i in band.host_sites
        if band.species[i] == "O"
        for shift in np.array(list(np.ndindex(3, 3, 3))) - 1
    )
    assert values["middle_anion_1"] == pytest.approx(nearest)
    shares = element_shares([band])[0]
    assert shares.sum() == pytest.approx(1)
    assert shares[2] == pytest.approx(band.species.count("Li") / len(band.species))


def test_rises_are_changes_from_the_ends(band):
    values = dict(zip(FEATURE_NAMES, path_features(band), strict=True))
    for name in ("anion_1", "valence", "clash"):
        assert values[f"worst_{name}_rise"] == pytest.approx(
            values[f"worst_{name}"] - values[f"end_{name}"]
        )


def test_bond_valence_lengths_are_those_of_the_literature():
    # Brese and O'Keeffe (1991) tabulate Li-O 1.466, Na-O 1.80, Mg-O 1.693 Å; the two-parameter
    # formula of O'Keeffe and Brese (1991) reproduces such values to about 0.05 Å.
    lengths = bond_valence_lengths()
    for number, tabulated in ((3, 1.466), (11, 1.80), (12, 1.693)):
        assert lengths[number, 8] == pytest.approx(tabulated, abs=0.06)
    assert np.array_equal(lengths, lengths.T)
