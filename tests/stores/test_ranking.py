"""The ranking: levels, networks, intervals, and that it settles."""

from __future__ import annotations

import math

import pytest

from stores.documents import BarrierDoc, RankedDoc
from stores.estimates import best_estimates, disagreeing_hops
from stores.queries import ranked
from stores.rank_note import RankSettings
from stores.ranking import MaterialData, diffusivity_cm2_s, rank_material, rank_materials

X, Y, Z = (0, 0, 1, 0, 0), (0, 0, 0, 1, 0), (0, 0, 0, 0, 1)
OUT, BACK = (0, 1, 0, 0, 0), (1, 0, 1, 0, 0)  # X in two halves


@pytest.fixture
def cubic(samples):
    """A material with one hop along each axis."""
    hops = [samples.hop(name, [edge]) for name, edge in (("x", X), ("y", Y), ("z", Z))]
    return samples.candidate(band_gap_ev=2.5, metadata={"tags": ["a"]}), hops


def test_each_dimension_has_its_limit(cubic, samples):
    candidate, hops = cubic
    barriers = [samples.barrier(h, "band", v) for h, v in zip(hops, (0.3, 0.2, 0.9), strict=True)]
    doc = rank_material(MaterialData(candidate, hops, barriers, RankSettings(dimension=2)))
    assert [doc.limits[d].barrier_ev for d in "123"] == [0.2, 0.3, 0.9]
    assert [doc.limits[d].limiting_hop_id for d in "123"] == ["y", "x", "z"]
    assert (doc.barrier_ev, doc.dimension, doc.limiting_hop_id) == (0.3, 2, "x")
    assert doc.interval_90_ev == pytest.approx((0.2, 0.4))
    assert (doc.band_gap_ev, doc.metadata, doc.num_hops) == (2.5, {"tags": ["a"]}, 3)


def test_a_path_is_limited_by_its_dearest_step(samples):
    hops = [samples.hop("out", [OUT]), samples.hop("back", [BACK]), samples.hop("x", [X])]
    values = {"out": 0.1, "back": 0.5, "x": 0.6}
    barriers = [samples.barrier(hop, "band", values[hop.hop_id], half=0.2) for hop in hops]
    doc = rank_material(MaterialData(samples.candidate(), hops, barriers))
    assert (doc.barrier_ev, doc.limiting_hop_id) == (0.5, "back")
    assert doc.interval_90_ev == pytest.approx((0.3, 0.7))
    assert "x" in doc.limits["1"].alternatives


def test_a_material_without_a_network_is_not_ranked(samples):
    hops = [samples.hop("out", [OUT])]
    barriers = [samples.barrier(hops[0], "band", 0.1)]
    data = MaterialData(samples.candidate(), hops, barriers)
    assert rank_material(data) is None
    assert rank_material(MaterialData(samples.candidate(), [], [])) is None


def test_the_best_level_decides_and_failures_do_not(samples):
    hop = samples.hop("x", [X])
    band, mlip = samples.barrier(hop, "band", 0.2), samples.barrier(hop, "mlip", 0.5)
    failed = samples.barrier(hop, "dft", None)
    assert best_estimates([band, failed, mlip]) == {"x": mlip}
    doc = rank_material(MaterialData(samples.candidate(), [hop], [band, mlip, failed]))
    assert (doc.level, doc.barrier_ev, doc.num_failed) == ("mlip", 0.5, 1)
    dft = samples.barrier(hop, "dft", 0.4, settings={"again": 1}, label="demo")
    doc = rank_material(MaterialData(samples.candidate(), [hop], [band, mlip, failed, dft]))
    assert (doc.level, doc.label, doc.barrier_ev) == ("dft", "demo", 0.4)
    assert best_estimates([failed]) == {}


def test_within_a_level_the_unlabelled_then_the_surest_decides(samples):
    hop = samples.hop("x", [X])
    demo = samples.barrier(hop, "dft", 0.1, half=0.01, settings={"k": 1}, label="demo")
    wide = samples.barrier(hop, "dft", 0.2, half=0.2, settings={"k": 2})
    sure = samples.barrier(hop, "dft", 0.3, half=0.1, settings={"k": 3})
    for order in ([demo, wide, sure], [sure, wide, demo]):
        assert best_estimates(order) == {"x": sure}
    assert best_estimates([demo, wide]) == {"x": wide}


def test_an_estimate_without_interval_is_an_error(samples):
    hop = samples.hop("x", [X])
    broken = samples.barrier(hop, "mlip", 0.5).model_copy(update={"interval_90_ev": None})
    with pytest.raises(ValueError, match=rf"{broken.barrier_id}: done without"):
        best_estimates([broken])


def test_levels_disagree_beyond_their_intervals(samples):
    hop = samples.hop("x", [X])
    band, near = samples.barrier(hop, "band", 0.2, 0.2), samples.barrier(hop, "mlip", 0.5, 0.15)
    far = samples.barrier(hop, "dft", 0.9, 0.1)
    assert disagreeing_hops([band, near]) == []
    assert disagreeing_hops([band, near, far]) == ["x"]
    doc = rank_material(MaterialData(samples.candidate(), [hop], [band, near, far]))
    assert (doc.levels_disagree, doc.disagreeing_hop_ids) == (True, ["x"])
    other = samples.barrier(samples.hop("y", [Y]), "dft", 5.0)
    assert disagreeing_hops([band, near, other]) == []


def test_hops_of_two_modes_do_not_mix(samples):
    vacancy = samples.hop("v", [X], mode="vacancy")
    dilute = samples.hop("d", [X], mode="dilute")
    barriers = [samples.barrier(vacancy, "band", 0.5), samples.barrier(dilute, "band", 0.1)]
    data = MaterialData(samples.candidate(), [vacancy, dilute], barriers)
    assert rank_material(data).barrier_ev == 0.5
    barriers.append(samples.barrier(dilute, "mlip", 0.2))
    assert rank_material(data).barrier_ev == 0.2


def test_diffusivity():
    # D = l² ν exp(−E/kT) / 2d by hand: 9e-16 cm² × 1e13 Hz × exp(−0.3/0.025852) / 2
    value = diffusivity_cm2_s(0.3, 3.0, temperature_k=300, dimension=1)
    assert value == pytest.approx(9e-16 * 1e13 * math.exp(-0.3 / 0.0258519997) / 2, rel=1e-6)
    assert diffusivity_cm2_s(0.3, 3.0, temperature_k=300, dimension=3) == pytest.approx(value / 3)


def test_the_diffusivity_interval_is_in_order(cubic, samples):
    candidate, hops = cubic
    barriers = [samples.barrier(hop, "band", 0.3) for hop in hops]
    doc = rank_material(MaterialData(candidate, hops, barriers))
    low, high = doc.diffusivity_interval_90_cm2_s
    assert low < doc.diffusivity_cm2_s < high


def _fill(store, samples, values):
    for material, value in values.items():
        hop = samples.hop(f"{material}-x", [X], material)
        store.put([samples.candidate(material, screens=["s"]), hop])
        store.put([samples.barrier(hop, "band", value)])


def _ranking(store):
    return [(doc.rank, doc.material_id, doc.barrier_ev) for doc in ranked(store)]


def test_ranks_follow_barrier_then_id(store, samples):
    _fill(store, samples, {"c": 0.3, "b": 0.1, "a": 0.3, "d": None})
    assert rank_materials(store) == 3
    assert _ranking(store) == [(1, "b", 0.1), (2, "a", 0.3), (3, "c", 0.3)]


def test_ranking_twice_changes_nothing(store, samples):
    _fill(store, samples, {"a": 0.3, "b": 0.1})
    rank_materials(store)
    before = list(store.ranked.query({}, sort={"_id": 1}))
    rank_materials(store)
    assert list(store.ranked.query({}, sort={"_id": 1})) == before


def test_a_new_estimate_moves_its_material(store, samples):
    _fill(store, samples, {"a": 0.3, "b": 0.1, "c": 0.2})
    rank_materials(store)
    hop = samples.hop("b-x", [X], "b")
    store.put([samples.barrier(hop, "mlip", 0.5)])
    assert rank_materials(store, candidate_ids=["b:Li"]) == 1
    assert _ranking(store) == [(1, "c", 0.2), (2, "a", 0.3), (3, "b", 0.5)]


def test_a_material_can_leave(store, samples):
    _fill(store, samples, {"a": 0.3, "b": 0.1})
    rank_materials(store)
    assert rank_materials(store, dimension=2) == 0
    assert _ranking(store) == []


def test_only_a_screen(store, samples):
    _fill(store, samples, {"a": 0.3, "b": 0.1})
    store.tag_screen("other", ["b:Li"])
    assert rank_materials(store, screen_id="other") == 1
    assert _ranking(store) == [(1, "b", 0.1)]


def test_a_wrong_dimension(store):
    with pytest.raises(ValueError, match="give 1, 2 or 3"):
        rank_materials(store, dimension=4)


def test_the_order_of_the_work_does_not_matter(store, samples):
    values = {"a": 0.3, "b": 0.1, "c": 0.2}
    _fill(store, samples, values)
    rank_materials(store)
    aside = {"provenance"}
    once = [doc.model_dump(exclude=aside) for doc in store.find(RankedDoc)]
    store.ranked.remove_docs({})
    store.barriers.remove_docs({})
    for material in ("c", "b", "a"):  # as a resumed run might
        hop = samples.hop(f"{material}-x", [X], material)
        store.put([samples.barrier(hop, "band", values[material])])
        rank_materials(store, candidate_ids=[f"{material}:Li"])
    assert store.count(BarrierDoc) == 3
    assert [doc.model_dump(exclude=aside) for doc in store.find(RankedDoc)] == once
