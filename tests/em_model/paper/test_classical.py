"""The hand-made features against geometry that is known, the filter, and grouped folds."""

import numpy as np
import pytest

from em_model.classical import (
    MAX_CORRELATION,
    PATHWAY,
    cross_validate,
    features,
    pathway_features,
    uncorrelated,
)
from em_model.data import Band, assign_hosts, host_folds
from em_model.errors import BadInput

from .conftest import rocksalt_band


def named(band):
    return dict(zip(PATHWAY, pathway_features(band), strict=True))


def test_pathway_of_a_hop_through_the_edge_of_an_octahedron():
    """Rock salt, a = 4.03 Å: the straight hop passes between two F at a/(2√2) of the middle."""
    a, f = 4.03, named(rocksalt_band())
    assert f["path_length_ang"] == pytest.approx(a / np.sqrt(2))
    assert f["end_bond_ang"] == pytest.approx(a / 2)
    assert f["saddle_bond_ang"] == pytest.approx(a / np.sqrt(8))
    assert f["end_coordination"] == pytest.approx(6, abs=0.3)
    assert 2 <= f["saddle_coordination"] < 4


def test_voronoi_cell_of_an_undisturbed_site_is_its_share_of_the_lattice():
    """A cubic site whose six neighbours sit at 2 Å: a cube of 8 Å³ with faces of 4 Å²."""
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), -1).reshape(-1, 3) / 4
    band = Band(
        id="cubic",
        working_ion="Li",
        lattice=np.eye(3) * 8.0,
        species=("Li", "Li", "Li") + ("O",) * 63,
        frac_coords=np.concatenate([[[0, 0, 0], [0.001, 0, 0], [0.002, 0, 0]], grid[1:]]),
        band_sites=(0, 1, 2),
    )
    f = named(band)
    assert f["end_voronoi_volume_ang3"] == pytest.approx(8.0, rel=0.02)
    assert f["saddle_voronoi_largest_face_ang2"] == pytest.approx(4.0, rel=0.05)
    assert f["saddle_coordination"] == pytest.approx(6, abs=0.3)


def test_pathway_features_do_not_depend_on_direction_or_origin():
    band = rocksalt_band()
    moved = Band(**{**band.__dict__, "frac_coords": band.frac_coords + np.array([0.3, -0.7, 1.2])})
    expected = pathway_features(band)
    np.testing.assert_allclose(pathway_features(band.reversed()), expected, rtol=1e-6)
    np.testing.assert_allclose(pathway_features(moved), expected, rtol=1e-6)


def test_filter_drops_what_is_constant_or_repeated_and_keeps_the_later():
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=(2, 200))
    nan = np.where(np.arange(200) == 3, np.nan, b)
    x = np.column_stack([a, np.ones(200), b, -2 * a + 0.01 * b, nan])
    assert uncorrelated(x).tolist() == [2, 3]
    kept = x[:, uncorrelated(x)]
    assert abs(np.corrcoef(kept, rowvar=False)[0, 1]) <= MAX_CORRELATION


def _bands():
    made = []
    for i, anion in enumerate(["F", "Cl", "Br", "I", "O", "S", "Se", "Te"]):
        for k in range(3):
            band, scale = rocksalt_band(), 0.94 + 0.015 * ((3 * i + k) % 8)
            species = tuple(anion if s == "F" else s for s in band.species)
            changed = {"id": f"{anion}{k}", "species": species, "host": None}
            changed |= {"lattice": band.lattice * scale, "barrier_ev": 5 * (scale - 0.93)}
            made.append(Band(**{**band.__dict__, **changed}))
    return assign_hosts(made)


@pytest.fixture(scope="module")
def table():
    pytest.importorskip("matminer", reason="needs the extra 'classical'")
    bands = _bands()
    return bands, features(bands)


@pytest.mark.parametrize("name", ["RFR", "GBR"])
def test_learns_geometry_across_hosts(table, name):
    bands, known = table
    result = cross_validate(name, bands, folds=4, table=known)
    targets = np.array([b.barrier_ev for b in bands])
    found = np.array([result["predictions"][b.id] for b in bands])
    assert np.abs(found - targets).mean() < 0.9 * np.abs(targets - targets.mean()).mean()
    assert result == cross_validate(name, bands, folds=4, table=known)


def test_a_fold_knows_nothing_of_its_own_barriers(table):
    bands, known = table
    fold_of = host_folds(bands, 4, 0)
    told = cross_validate("GBR", bands, folds=4, table=known)["predictions"]
    changed = [
        Band(**{**b.__dict__, "barrier_ev": 9.0 if f == 0 else b.barrier_ev})
        for b, f in zip(bands, fold_of, strict=True)
    ]
    again = cross_validate("GBR", changed, folds=4, table=known)["predictions"]
    for band, fold in zip(bands, fold_of, strict=True):
        assert (again[band.id] == told[band.id]) == (fold == 0)


def test_feature_table(table):
    bands, (x, names) = table
    assert x.shape == (len(bands), len(names))
    assert names[-9:] == list(PATHWAY)
    assert len(set(names)) == len(names)
    assert np.isfinite(x[:, -9:]).all()


def test_unknown_model():
    with pytest.raises(BadInput, match="SVR"):
        cross_validate("SVR", _bands())
