"""The pre-trained trunk's states and all other descriptors: what must and must not change them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from em_model.data import Band
from em_model.descriptors import Descriptors, describe
from em_model.graphs import GraphSettings, band_graph
from em_model.network import Encoder, NetworkSettings
from em_model.pretraining import masked_l1
from em_model.trunk import pooled_states


@pytest.fixture(scope="module")
def network() -> Encoder:
    torch.manual_seed(0)
    return Encoder(NetworkSettings(hidden=32, alignn_layers=2, gcn_layers=0)).eval()


def answer(network: Encoder, *bands: Band) -> np.ndarray:
    """States projected on a few fixed directions, shape (bands, 4)."""
    states = pooled_states(network, [band_graph(b, GraphSettings()) for b in bands])
    directions = np.random.default_rng(0).normal(size=(states.shape[1], 4))
    return states @ directions / np.sqrt(len(directions))


def rotation(seed: int) -> np.ndarray:
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


def changed(band: Band, **what) -> Band:
    return Band(**{**band.__dict__, **what})


def same_band(band: Band, how: str) -> Band:
    rng = np.random.default_rng(5)
    if how == "rotated":
        return changed(band, lattice=band.lattice @ rotation(1))
    if how == "moved":
        return changed(band, frac_coords=band.frac_coords + rng.uniform(size=3))
    if how == "reordered":
        order = np.concatenate([np.arange(5), 5 + rng.permutation(len(band.species) - 5)])
        return changed(
            band,
            species=tuple(band.species[i] for i in order),
            frac_coords=band.frac_coords[order],
        )
    if how == "rewrapped":
        shift = rng.integers(-1, 2, size=band.frac_coords.shape).astype(float)
        shift[:5] = 0
        return changed(band, frac_coords=band.frac_coords + shift)
    if how == "other cell":
        matrix = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]])
        return changed(
            band,
            lattice=matrix @ band.lattice,
            frac_coords=band.frac_coords @ np.linalg.inv(matrix),
        )
    assert how == "reversed"
    return band.reversed()


@pytest.mark.parametrize(
    "how", ["rotated", "moved", "reordered", "rewrapped", "other cell", "reversed"]
)
def test_the_same_band_written_otherwise_has_the_same_answer(network, band, how):
    other = same_band(band, how)
    before, after = describe([band]), describe([other])
    for block in Descriptors.__dataclass_fields__:
        if block != "trunk":
            np.testing.assert_allclose(getattr(after, block), getattr(before, block), atol=1e-7)
    # Graphs are single precision: positions differ in the seventh digit.
    np.testing.assert_allclose(answer(network, other), answer(network, band), atol=2e-4)


def test_perfect_symmetry_leaves_no_ties_to_the_order_of_atoms(network, band):
    # An unshaken cubic cell: dozens of equal distances at the edge of the shell.
    grid = np.array(list(np.ndindex(3, 3, 3))) / 3
    path = np.linspace(0, 1, 5)[:, None] * np.array([1 / 3, 0, 0]) + 1 / 6
    symbols = tuple("Ti" if sum(i) % 2 else "O" for i in np.ndindex(3, 3, 3))
    cubic = changed(
        band,
        lattice=9.0 * np.eye(3),
        species=(*["Li"] * 5, *symbols),
        frac_coords=np.vstack([path, grid]),
    )
    np.testing.assert_allclose(
        answer(network, same_band(cubic, "reordered")), answer(network, cubic), atol=2e-4
    )


def test_batched_is_one_by_one(network, many_bands):
    bands = many_bands[:4]
    together = answer(network, *bands)
    alone = np.concatenate([answer(network, b) for b in bands])
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert np.ptp(together, axis=0).min() > 1e-2


def test_the_path_matters(network, band):
    narrow = band.frac_coords.copy()
    narrow[1:4, 1] += 0.05
    moved = changed(band, frac_coords=narrow)
    assert np.abs(answer(network, moved) - answer(network, band)).max() > 2e-3
    before, after = describe([band]), describe([moved])
    for block in ("path", "geometry", "chemistry"):
        assert np.abs(getattr(after, block) - getattr(before, block)).max() > 2e-3
    assert np.array_equal(after.shares, before.shares)


def test_a_bond_at_the_edge_of_the_angles_does_not_jump(network, band):
    # Move one atom across the horizon of the angle bonds in small steps.
    graph = band_graph(band, GraphSettings())
    target = int(graph.neighbour[2, GraphSettings().angle_bonds])
    steps = np.linspace(-0.4, 0.4, 81)
    cart = band.frac_coords @ band.lattice
    index = band.host_sites[0] + target - 5
    towards = (cart[index] - cart[2]) / np.linalg.norm(cart[index] - cart[2])
    values = []
    for step in steps:
        moved = cart.copy()
        moved[index] -= step * towards
        frac = moved @ np.linalg.inv(band.lattice)
        values.append(answer(network, changed(band, frac_coords=frac))[0])
    change = np.linalg.norm(np.diff(values, axis=0), axis=1)
    assert change.max() < 10 * np.median(change) + 1e-3


def test_masked_l1_looks_at_known_values_alone():
    predicted = torch.tensor([[1.0, 5.0], [2.0, 7.0]])
    target = torch.tensor([[0.0, 0.0], [0.0, 6.0]])
    mask = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert masked_l1(predicted, target, mask).item() == pytest.approx(1.0)
