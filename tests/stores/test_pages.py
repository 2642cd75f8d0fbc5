"""Pages and places: what is on them never depends on how they are read."""

from __future__ import annotations

import random

import pytest

import stores.pages
import stores.places
from stores.documents import RankedDoc
from stores.pages import best_page, set_rungs
from stores.queries import ranked
from stores.ranking import rank_materials

X = (0, 0, 1, 0, 0)


@pytest.fixture(scope="module")
def values():
    """Sixty barriers, many of them tied."""
    rng = random.Random(1)
    return {f"m{n:03d}": round(rng.uniform(0, 1), 1 + n % 2) for n in range(60)}


@pytest.fixture
def filled(store, samples, values, monkeypatch):
    """A ranking with a rung for every five materials."""
    monkeypatch.setattr(stores.pages, "_RUNG", 5)
    docs = []
    for name, value in values.items():
        hop = samples.hop(name, [X], name)
        gap = float(int(name[1:]) % 10)
        docs += [samples.candidate(name, band_gap_ev=gap), hop, samples.barrier(hop, "band", value)]
    store.put(docs)
    rank_materials(store)
    return store


@pytest.fixture
def order(values):
    """The whole ranking as it has to be."""
    return sorted(values, key=lambda name: (values[name], name))


WHERES = [{}, {"band_gap_ev": {"$lt": 2}}, {"band_gap_ev": 7.0}, {"band_gap_ev": 99.0}]


def _passes(name, where):
    gap = int(name[1:]) % 10
    wanted = where.get("band_gap_ev")
    return wanted is None or (gap < 2 if isinstance(wanted, dict) else gap == wanted)


def test_pages_and_places(filled, order):
    for where in WHERES:
        passing = [name for name in order if _passes(name, where)]
        for top, skip in ((1, 0), (20, 7), (5, 55), (500, 0)):
            page = best_page(filled, where, top, skip)
            assert page is not None  # the rungs are used
            found = ranked(filled, top, where, skip=skip)
            assert [doc.material_id for doc in found] == passing[skip : skip + top]
            assert [doc.material_id for doc in page] == passing[skip : skip + top]
            assert [doc.rank for doc in found] == [order.index(d.material_id) + 1 for d in found]


@pytest.mark.parametrize(("near", "few"), [(0, 1000), (0, 0), (1000, 1000), (20, 3)])
def test_places_do_not_depend_on_how_they_are_counted(filled, order, monkeypatch, near, few):
    monkeypatch.setattr(stores.places, "_NEAR", near)
    monkeypatch.setattr(stores.places, "_FEW", few)
    for sort in ({"barrier_ev": 1}, {"band_gap_ev": -1}, {"barrier_ev": -1}):
        found = ranked(filled, 25, sort=sort)
        assert [doc.rank for doc in found] == [order.index(d.material_id) + 1 for d in found]


def test_old_rungs_are_slow_and_not_wrong(filled, samples, order):
    """Everything has moved since the rungs were set."""
    filled.marks.update([{"name": "ladder", "changed": 0, "count": 60, "rungs": [5.0, 6.0]}])
    assert [d.material_id for d in ranked(filled, 20)] == order[:20]
    filled.marks.update([{"name": "ladder", "changed": 0, "count": 60, "rungs": [-2.0, -1.0]}])
    assert [d.material_id for d in ranked(filled, 20)] == order[:20]


def test_rungs_are_set_anew_when_enough_has_changed(filled):
    def mark():
        return filled.marks.query_one({"name": "ladder"})

    before = mark()
    assert (before["count"], before["changed"], len(before["rungs"])) == (
        60,
        0,
        10,
    )  # the values of some rungs are tied
    filled.ranked.remove_docs({"band_gap_ev": 7.0})
    set_rungs(filled, 4)
    assert (mark()["count"], mark()["changed"]) == (60, 4)
    set_rungs(filled, 4)
    assert (mark()["count"], mark()["changed"]) == (54, 0)


def test_the_servers_order_where_windows_do_not_help(filled):
    assert best_page(filled, {"barrier_ev": {"$lt": 0.5}}, 20, 0) is None
    assert best_page(filled, {}, 20, 5000) is None
    found = ranked(filled, 20, {"barrier_ev": {"$gt": 0.5}})
    assert found[0].barrier_ev > 0.5
    assert filled.count(RankedDoc, {"barrier_ev": {"$lte": 0.5}}) == found[0].rank - 1
