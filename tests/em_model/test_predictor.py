"""The shipped model, and the figures that evaluation prints."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from em_model.data import Band, read_bands
from em_model.ensemble import out_of_fold
from em_model.errors import BadInput
from em_model.evaluate import evaluate, metrics
from em_model.predictor import BandModel, find_model, shipped_folder
from em_model.registry import describe_models, open_model


@pytest.fixture(scope="module")
def model() -> BandModel:
    return BandModel.load("default", "cpu")


def test_the_shipped_model_answers_the_same_whenever_and_however_asked(model, many_bands):
    bands = many_bands[:6]
    first = model.predict(bands)
    assert model.predict(bands) == first
    for one, many in zip(model.predict(bands, batch_size=1), first, strict=True):
        assert one.barrier_ev == pytest.approx(many.barrier_ev, abs=1e-5)
    for p in first:
        assert 0 <= p.interval_90_ev[0] <= p.barrier_ev <= p.interval_90_ev[1]
    back = model.predict([b.reversed() for b in bands])
    for there, here in zip(back, first, strict=True):
        assert there.barrier_ev == pytest.approx(here.barrier_ev, abs=1e-4)


def test_progress_counts_bands(model, many_bands):
    seen: list[int] = []
    model.predict(many_bands[:5], batch_size=2, progress=seen.append)
    assert seen == [2, 4, 5]
    assert model.predict([]) == []


def test_what_the_model_has_never_seen_is_flagged(model, make_band):
    strange = make_band(3, metal="U")
    odd_ion = make_band(4, ion="Cs")
    assert not any(p.in_domain for p in model.predict([strange, odd_ion]))


def test_a_thousand_atoms_are_no_trouble(model, band):
    repeated = [
        (symbol, (site + np.array(shift)) / 3)
        for shift in np.ndindex(3, 3, 3)
        for symbol, site in zip(band.species[5:], band.frac_coords[5:], strict=True)
    ]
    large = Band(
        id="large",
        working_ion=band.working_ion,
        lattice=3 * band.lattice,
        species=(*band.species[:5], *(s for s, _ in repeated)),
        frac_coords=np.vstack([band.frac_coords[:5] / 3, *(x for _, x in repeated)]),
    )
    assert len(large.species) > 900
    (answer,) = model.predict([large])
    assert np.isfinite(answer.barrier_ev)


def test_five_sites_are_needed(model, band):
    with pytest.raises(BadInput, match="band_sites"):
        model.predict([replace(band, band_sites=(0, 4))])


def test_missing_and_damaged_models_are_one_line(tmp_path, many_bands):
    with pytest.raises(BadInput, match="neither a known model"):
        BandModel.load("nonesuch")
    shutil.copytree(find_model("default"), tmp_path / "m")
    weights = tmp_path / "m" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(BadInput, match="SHA-256"):
        BandModel.load(tmp_path / "m")
    weights.write_bytes(data[: len(data) // 2])
    with pytest.raises(BadInput, match="damaged") as error:
        BandModel.load(tmp_path / "m")
    assert "\n" not in str(error.value)
    weights.unlink()
    with pytest.raises(BadInput, match="no such weights"):
        BandModel.load(tmp_path / "m")
    card = tmp_path / "m" / "card.json"
    card.write_text(json.dumps({"format": 99}))
    with pytest.raises(BadInput, match="format"):
        BandModel.load(tmp_path / "m")
    card.write_text("{")
    with pytest.raises(BadInput, match="cannot be read"):
        BandModel.load(tmp_path / "m")


def test_all_shipped_weights_stay_small():
    total = sum(p.stat().st_size for p in shipped_folder().rglob("*") if p.is_file())
    assert total < 20e6


def test_models_are_listed_and_opened_by_name():
    rows = {row["name"]: row for row in describe_models()}
    assert rows["default"]["cv_mae_ev"] > 0
    assert open_model("default").sha256 == rows["default"]["sha256"]


def test_the_card_keeps_its_word(model, training_data):
    bands = read_bands(training_data, need_barrier=True)
    values, intervals, _ = out_of_fold(model, bands)
    known = np.array([b.barrier_ev for b in bands])
    card = model.card["cross_validation"]
    found = metrics(values, known, intervals)
    assert found["mae_ev"] == pytest.approx(card["mae_ev"], abs=2e-3)
    assert found["r2"] == pytest.approx(card["r2"], abs=5e-3)
    assert found["interval_coverage_90"] == pytest.approx(card["interval_coverage_90"], abs=0.01)
    assert 0.87 <= card["interval_coverage_90"] <= 0.93
    for ion, row in card["coverage_by_ion"].items():
        if row["n"] >= 30:
            assert 0.87 <= row["coverage"] <= 0.93, ion


def test_figures_of_merit_by_hand():
    predicted, known = np.array([0.1, 0.5, 0.9, 0.7]), np.array([0.2, 0.7, 1.0, 0.6])
    interval = np.stack([predicted - 0.15, predicted + 0.15], axis=1)
    found = metrics(predicted, known, interval)
    assert found["mae_ev"] == pytest.approx(0.125)
    assert found["rmse_ev"] == pytest.approx(np.sqrt((0.01 + 0.04 + 0.01 + 0.01) / 4))
    assert found["r2"] == pytest.approx(1 - 0.07 / ((known - known.mean()) ** 2).sum())
    assert found["confusion"] == {
        "good_called_good": 1,
        "good_called_bad": 1,
        "bad_called_good": 1,
        "bad_called_bad": 1,
    }
    assert found["good_accuracy"] == found["good_precision"] == found["good_recall"] == 0.5
    assert found["interval_coverage_90"] == 0.75


def test_undefined_figures_are_null_and_json_is_valid():
    found = metrics(np.array([0.9]), np.array([0.8]))
    assert found["r2"] is None
    assert found["good_precision"] is None
    assert found["interval_coverage_90"] is None
    json.dumps(found, allow_nan=False)


def test_evaluation_needs_barriers(model, band):
    with pytest.raises(BadInput, match="barrier_ev"):
        evaluate(model, [replace(band, barrier_ev=None)])
    found = evaluate(model, [band])
    assert found["n"] == 1
    assert found["paths_per_s"] > 0
    assert found["model_sha256"] == model.sha256
