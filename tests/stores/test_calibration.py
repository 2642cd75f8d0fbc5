"""Cheap levels calibrated by dear ones: what is recovered, when, and that it settles."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from stores.builder import RankBuilder
from stores.calibration import MIN_PAIRS, UNCALIBRATED, Calibration, Calibrations, calibrate
from stores.documents import ModelRef, Provenance, RankedDoc
from stores.rank_note import RankNote
from stores.ranking import rank_materials

X = (0, 0, 1, 0, 0)


def _made_by(name):
    return Provenance(versions={"hopscreen": "0"}, model=ModelRef(name=name, sha256="ab" * 32))


def _fill(store, samples, n, dear_of, *, dear="dft", cheap_model="m", seed=0, first=0, **more):
    """Give ``n`` materials a band estimate and a dear one that follows from it."""
    rng = np.random.default_rng(seed)
    docs = []
    for number in range(first, first + n):
        name = f"h{number:03d}"
        hop = samples.hop(name, [X], name)
        cheap = float(rng.uniform(0.2, 1.2))
        band = samples.barrier(hop, "band", cheap, 0.1, provenance=_made_by(cheap_model))
        value = dear_of(cheap, rng)
        docs += [samples.candidate(name), hop, band, samples.barrier(hop, dear, value, **more)]
    store.put(docs)


def test_a_known_bias_is_found_on_both_backends(store, samples):
    _fill(store, samples, 60, lambda cheap, rng: 0.3 + cheap + rng.normal(0, 0.05))
    found = calibrate(store)
    ((key, one),) = found.by_model.items()
    assert key == ("band", "m:abababab")
    assert found.pairs[key] == 60
    assert one.shift_ev == pytest.approx((0.3, 0.3), abs=0.04)
    value, (low, high) = one.apply(0.7, (0.6, 0.8))
    assert value == pytest.approx(1.0, abs=0.04)
    # the residuals have a spread of 0.05 eV: 90 % lie within 0.08 of the line
    assert high - low == pytest.approx(2 * 1.645 * 0.05, rel=0.4)


def test_hops_chosen_by_their_cheap_value_do_not_bias_it(samples, tmp_path):
    """The dear value is 0.5 + 0.5 cheap; only hops that look good have it."""
    from stores.screen_store import open_store

    with open_store(str(tmp_path / "s")) as store:
        _fill(store, samples, 200, lambda c, rng: 0.5 + 0.5 * c + rng.normal(0, 0.05))
        store.barriers.remove_docs({"level": "band", "barrier_ev": {"$gt": 0.6}})
        one = calibrate(store).by_model["band", "m:abababab"]
    assert one.range_ev == (0.2, 0.6)
    assert one.apply(0.3, (0.2, 0.4))[0] == pytest.approx(0.65, abs=0.04)
    assert one.apply(0.6, (0.5, 0.7))[0] == pytest.approx(0.8, abs=0.04)
    # beyond the pairs the correction stays as at their edge
    assert one.apply(1.6, (1.5, 1.7))[0] == pytest.approx(1.8, abs=0.04)


def test_the_intervals_hold_nine_tenths_of_the_pairs(store, samples):
    _fill(store, samples, 200, lambda c, rng: max(0.0, c + rng.standard_t(3) * 0.2))
    one = calibrate(store).by_model["band", "m:abababab"]
    inside = 0
    rows = {row["hop_id"]: {} for row in store.barriers.query({})}
    for row in store.barriers.query({}):
        rows[row["hop_id"]][row["level"]] = row
    for levels in rows.values():
        cheap = levels["band"]
        _, (low, high) = one.apply(cheap["barrier_ev"], tuple(cheap["interval_90_ev"]))
        inside += low <= levels["dft"]["barrier_ev"] <= high
    assert 0.88 <= inside / len(rows) <= 0.95


@pytest.mark.parametrize(("n", "label"), [(MIN_PAIRS - 1, None), (MIN_PAIRS + 5, "demo")])
def test_too_few_or_labelled_estimates_calibrate_nothing(store, samples, n, label):
    _fill(store, samples, n, lambda c, rng: c + 0.4, label=label)
    assert calibrate(store) == UNCALIBRATED


def test_models_are_calibrated_apart(store, samples):
    _fill(store, samples, 30, lambda c, rng: c + 0.4, cheap_model="low")
    _fill(store, samples, 30, lambda c, rng: c - 0.1, cheap_model="high", first=30)
    found = calibrate(store).by_model
    assert found["band", "low:abababab"].apply(0.7, (0.6, 0.8))[0] == pytest.approx(1.1)
    assert found["band", "high:abababab"].apply(0.7, (0.6, 0.8))[0] == pytest.approx(0.6)


def test_a_potential_that_dft_corrected_corrects_the_band_model(store, samples):
    """The potential lies 0.2 eV below DFT, the band model as the potential does."""
    _fill(store, samples, 30, lambda c, rng: c, dear="mlip", provenance=_made_by("pot"))
    for number in range(25):
        hop = samples.hop(f"h{number:03d}", [X], f"h{number:03d}")
        (row,) = store.barriers.query({"hop_id": hop.hop_id, "level": "mlip"})
        store.put([samples.barrier(hop, "dft", row["barrier_ev"] + 0.2)])
    found = calibrate(store).by_model
    assert found["mlip", "pot:abababab"].shift_ev == pytest.approx((0.2, 0.2))
    assert found["band", "m:abababab"].shift_ev == pytest.approx((0.2, 0.2), abs=0.03)


def test_one_wild_estimate_moves_little(store, samples):
    _fill(store, samples, 40, lambda c, rng: c + 0.1)
    hop = samples.hop("wild", [X], "wild")
    band = samples.barrier(hop, "band", 0.5, provenance=_made_by("m"))
    store.put([samples.candidate("wild"), hop, band, samples.barrier(hop, "dft", 8.8)])
    one = calibrate(store).by_model["band", "m:abababab"]
    assert one.shift_ev == pytest.approx((0.1, 0.1), abs=0.021)


def test_correcting_keeps_the_order_of_the_values(store, samples):
    _fill(store, samples, 40, lambda c, rng: 2.0 - c)  # worse than useless
    one = calibrate(store).by_model["band", "m:abababab"]
    values = [one.apply(x, (x - 0.1, x + 0.1))[0] for x in np.linspace(0, 3, 50)]
    assert all(later >= value - 1e-9 for value, later in pairwise(values))


def test_rows_bring_it_back():
    one = Calibration("band", "m", (0.1, 0.9), (0.2, 0.1), 1.4)
    found = Calibrations({("band", "m"): one}, {("band", "m"): 33})
    again = Calibrations.from_rows(found.as_rows())
    assert again == found
    assert again.pairs == found.pairs


def test_the_ranking_says_what_was_moved(store, samples):
    _fill(store, samples, 30, lambda c, rng: c + 0.4)
    hop = samples.hop("only", [X], "only")
    band = samples.barrier(hop, "band", 0.5, provenance=_made_by("m"))
    store.put([samples.candidate("only"), hop, band])
    rank_materials(store)
    doc = store.get(RankedDoc, candidate_id="only:Li")
    assert (doc.barrier_ev, doc.uncalibrated_ev, doc.level) == (pytest.approx(0.9), 0.5, "band")
    assert doc.limits["1"].uncalibrated_ev == 0.5
    best = store.get(RankedDoc, candidate_id="h000:Li")
    assert (best.level, best.uncalibrated_ev) == ("dft", None)


def test_a_moved_calibration_moves_all_that_rest_on_it(store, samples):
    """Incremental builds, screens and work from scratch agree, whatever came first."""
    _fill(store, samples, 15, lambda c, rng: c + 0.4)
    for number in range(5):
        hop = samples.hop(f"n{number}", [X], f"n{number}")
        band = samples.barrier(hop, "band", 0.1 * number, provenance=_made_by("m"))
        store.put([samples.candidate(f"n{number}"), hop, band])
    for _ in RankBuilder(store.uri).build():
        pass
    assert store.get(RankedDoc, candidate_id="n3:Li").uncalibrated_ev is None
    _fill(store, samples, 15, lambda c, rng: c + 0.4, first=15, seed=1)
    rank_materials(store, candidate_ids=["h020:Li"])
    assert store.get(RankedDoc, candidate_id="n3:Li").barrier_ev == pytest.approx(0.7)
    for _ in RankBuilder(store.uri).build():
        pass
    incremental = list(store.find(RankedDoc))
    assert RankNote.read(store).calibrations.pairs == {("band", "m:abababab"): 30}
    store.ranked.remove_docs({})
    store.marks.remove_docs({})
    rank_materials(store)
    aside = {"provenance"}
    assert [doc.model_dump(exclude=aside) for doc in store.find(RankedDoc)] == [
        doc.model_dump(exclude=aside) for doc in incremental
    ]


def test_corrections_stay_until_they_move_by_more_than_a_step(store, samples):
    """A few new pairs rank nothing anew; a rebuild, and a shift that counts, do."""
    _fill(store, samples, 60, lambda cheap, rng: 0.3 + cheap + rng.normal(0, 0.05))
    rank_materials(store)
    before = RankNote.read(store).calibrations
    (one,) = before.by_model.values()
    step = {key: Calibration(**{**vars(one), "shift_ev": tuple(s + 0.02 for s in one.shift_ev)})
            for key in before.by_model}  # fmt: skip
    assert Calibrations(step, {}) != before
    assert Calibrations(step, {}).unless_near(before) == before
    leap = {key: Calibration(**{**vars(one), "shift_ev": tuple(s + 0.04 for s in one.shift_ev)})
            for key in before.by_model}  # fmt: skip
    assert Calibrations(leap, {}).unless_near(before) == Calibrations(leap, {})
    assert before.unless_near(UNCALIBRATED) == before

    # Kept a step away from what the documents say: by a build, not by a rebuild.
    note = RankNote.read(store)
    pairs = dict.fromkeys(step, 60)
    RankNote(note.began, note.settings, Calibrations(step, pairs)).write(store)
    builder = RankBuilder(store.uri)
    assert list(builder.build())
    assert builder.calibrations == Calibrations(step, pairs)
    builder = RankBuilder(store.uri, rebuild=True)
    assert list(builder.build())
    assert builder.calibrations == before
