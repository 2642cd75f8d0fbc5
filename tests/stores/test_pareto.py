"""The Pareto front, and what elements cost and how hazardous they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stores.elements import HAZARD, USD_PER_KG, cost_usd_per_kg, elements, hazard
from stores.errors import BadInput
from stores.pareto import non_dominated, pareto
from stores.ranking import rank_materials

X = (0, 0, 1, 0, 0)


@pytest.fixture
def priced(store, samples):
    """Five materials with their own strengths."""
    for name, formula, barrier, gap, hull in (
        ("cheap", "Li2S", 0.6, 4.0, 0.0),
        ("fast", "LiCoO2", 0.2, 1.0, 0.0),
        ("slower", "LiCoO2", 0.3, 1.0, 0.01),  # beaten by "fast" in all
        ("wide", "LiF", 0.7, 9.0, 0.0),
        ("unknown", "Li3P", 0.1, None, 0.0),
    ):
        hop = samples.hop(name, [X], name)
        more = {"band_gap_ev": gap, "energy_above_hull_ev": hull}
        host = samples.candidate(name, formula=formula, **more)
        store.put([host, hop, samples.barrier(hop, "band", barrier)])
    rank_materials(store)
    return store


def test_the_front_of_all(priced):
    front = pareto(priced)
    assert [doc.material_id for doc in front.materials] == ["fast", "cheap", "wide"]
    assert [doc.rank for doc in front.materials] == [2, 4, 5]
    assert (front.compared, front.incomplete) == (4, 1)


def test_a_single_wish_is_its_best(priced):
    assert [d.material_id for d in pareto(priced, ["barrier_ev"]).materials] == ["unknown"]
    found = pareto(priced, ["band_gap_ev"], {"formula": "LiCoO2"})
    assert [doc.material_id for doc in found.materials] == ["fast", "slower"]


def test_nothing_is_a_front_too(store):
    assert pareto(store).materials == []


@pytest.mark.parametrize("fields", [["barrier"], [], ["barrier_ev", "metadata.x"]])
def test_an_unknown_wish_is_one_line(priced, fields):
    with pytest.raises(BadInput, match=r"^--pareto: .*; give some of barrier_ev, "):
        pareto(priced, fields)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=25).map(
        lambda rows: np.array(rows, dtype=float)
    )
)
def test_the_front_is_what_its_definition_says(values):
    def beats(one, other):
        return (one <= other).all() and (one < other).any()

    want = [i for i, row in enumerate(values) if not any(beats(other, row) for other in values)]
    assert non_dominated(values) == want


def test_prices():
    # by hand: masses 6.94 and 32.06, Li2S is 30.2 % lithium by mass
    assert cost_usd_per_kg("Li2S") == pytest.approx(0.3022 * 81 + 0.6978 * 0.093, rel=1e-3)
    assert cost_usd_per_kg("Li2S") == pytest.approx(cost_usd_per_kg("Li4S2"))
    assert cost_usd_per_kg("LiPo") is None
    assert cost_usd_per_kg("no formula") is None
    assert all(value > 0 for value in USD_PER_KG.values())


def test_hazards():
    assert hazard(elements("LiFePO4")) == 0
    assert hazard(elements("LiCoO2")) == 2
    assert hazard(elements("Li2CdCl4")) == 3
    assert HAZARD["U"] == 3
    assert hazard([]) is None
    assert elements("Li7La3Zr2O12") == ["La", "Li", "O", "Zr"]
    assert elements("(Li2O") == []
