"""Pairs of levels, and what they say of the cheaper one."""

from __future__ import annotations

import pytest

from stores.residuals import pairs, residuals

X = (0, 0, 1, 0, 0)


def test_pairs_and_their_statistics(store, samples):
    for name, band, mlip, dft in (
        ("a", 0.2, 0.3, 0.3),
        ("b", 0.5, 0.2, None),
        ("c", 0.1, None, None),
    ):
        hop = samples.hop(name, [X])
        store.put(
            samples.barrier(hop, level, value, 0.15)
            for level, value in (("band", band), ("mlip", mlip), ("dft", dft))
        )
    assert [pair.hop_id for pair in pairs(store, "band", "mlip")] == ["a", "b"]
    found = {(one.cheap, one.dear): one for one in residuals(store)}
    assert set(found) == {("band", "mlip"), ("band", "dft"), ("mlip", "dft")}
    both = found["band", "mlip"]
    assert (both.n, both.bias_ev, both.mae_ev) == pytest.approx((2, -0.1, 0.2))
    assert both.sd_ev == pytest.approx(0.4 / 2**0.5)
    assert both.coverage_90 == 0.5
    assert found["mlip", "dft"].sd_ev is None
    assert found["mlip", "dft"].bias_ev == 0


def test_a_pair_takes_the_deciding_estimate_of_each_level(store, samples):
    hop = samples.hop("a", [X])
    store.put([samples.barrier(hop, "band", 0.2), samples.barrier(hop, "dft", 0.4)])
    demo = samples.barrier(hop, "dft", 0.9, 0.01, settings={"preset": "demo"}, label="demo")
    store.put([demo])
    (pair,) = pairs(store, "band", "dft")
    assert pair.residual_ev == pytest.approx(0.2)


def test_no_pairs(store):
    assert residuals(store) == []
