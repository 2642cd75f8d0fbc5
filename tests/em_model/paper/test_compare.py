"""The comparison: scores that can be checked by hand, and results that do not fit."""

import json

import numpy as np
import pytest

from em_model.data import Band, host_folds
from em_model.ensemble import ModelRecipe, build_model
from em_model.errors import BadInput
from em_model.paper.compare import (
    by_scenario,
    learning_curves,
    model_result,
    rank,
    read_results,
    scores,
)
from em_model.paper.plots import plots
from em_model.trees import TreeSettings

from .conftest import host_bands, rocksalt_band


@pytest.fixture
def bands():
    barriers = [0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 0.3, 0.7]
    return [
        Band(**{**rocksalt_band().__dict__, "id": str(i), "barrier_ev": value})
        for i, value in enumerate(barriers)
    ]


def write(folder, name, predictions, suffix="", **more):
    folder.mkdir(exist_ok=True)
    content = {"model": name, "folds": 5, "seed": 0, "predictions": predictions, **more}
    (folder / f"crossval-{name}{suffix}.json").write_text(json.dumps(content))


def test_scores(bands, tmp_path):
    shifted = {b.id: b.barrier_ev + 0.1 for b in bands}
    exact = {b.id: [b.barrier_ev - 0.1, b.barrier_ev + 0.3] for b in bands}
    exact["0"] = [1.0, 1.4]
    write(tmp_path, "shifted", shifted, intervals_90=exact)
    (result,) = read_results(tmp_path, bands)
    row = scores(result)
    assert row["mae_ev"] == pytest.approx(0.1)
    assert row["rmse_ev"] == pytest.approx(0.1)
    assert row["mae_se_ev"] == pytest.approx(0, abs=1e-12)
    actual = np.array([b.barrier_ev for b in bands])
    assert row["r2"] == pytest.approx(1 - 0.01 / actual.var())
    assert row["good_accuracy"] == pytest.approx(7 / 8)  # 0.6 becomes 0.7
    assert row["interval_coverage_90"] == pytest.approx(7 / 8)
    assert row["interval_width_ev"] == pytest.approx(0.4)
    assert row["r2_se"] > 0
    # All eight are of one host, in the right order: 27 pairs of 28 differ by 0.1 eV or more,
    # those at 0.1 exactly by rounding.
    assert row["paths_told_apart"]["share"] == 1.0
    assert row["paths_told_apart"]["hosts"] == 1
    strict = scores(result, threshold_ev=0.35)
    assert strict["confusion"]["good_called_good"] == 1  # 0.3 becomes 0.4
    assert strict["confusion"]["good_called_bad"] == 1


def test_ranking_has_the_best_first_and_the_published_last(bands, tmp_path):
    for name, error in (("worse", 0.3), ("better", 0.1)):
        write(tmp_path, name, {b.id: b.barrier_ev - error for b in bands})
    # Right on the two bands that it was asked, where MODEL-3 is wrong by 0.2 and 0.4.
    write(tmp_path, "partial", {"0": 0.2, "3": 0.8}, size="small")
    third = {b.id: b.barrier_ev + 0.2 * (1 + (b.id == "3")) for b in bands}
    write(tmp_path, "MODEL-3", third, size="small", schedule={"epochs": 6})
    # A second training of MODEL-3, and the worse one: no reference.
    longer = {b.id: b.barrier_ev + 3.0 for b in bands}
    write(tmp_path, "MODEL-3", longer, "-e30", size="small", schedule={"epochs": 30})
    rows = rank(read_results(tmp_path, bands), bands)
    assert [r["model"] for r in rows] == [
        "partial (small)",
        "better",
        "MODEL-3 (small, 6 epochs)",
        "worse",
        "MODEL-3 (small, 30 epochs)",
        "MODEL-3 as published",
    ]
    mean = (7 * 0.2 + 0.4) / 8
    expected = [0.0, 0.1 / mean, 1.0, 0.3 / mean, 3.0 / mean]
    assert [r["mae_over_model3"] for r in rows[:-1]] == pytest.approx(expected, abs=1e-9)
    assert all("only" not in row["split"] for row in rows)  # one host, so one fold
    assert rows[-1]["mae_ev"] == 0.261


def test_learning_curves_end_at_the_main_result_on_the_same_bands(tmp_path):
    bands = host_bands()
    fold_of = host_folds(bands, 5, 0)
    first = [b for b, fold in zip(bands, fold_of, strict=True) if fold == 0]
    for records, error in ((4, 0.4), (6, 0.3)):
        part = {b.id: b.barrier_ev + error for b in first}
        write(tmp_path, "m", part, f"-n{records}", records=records)
    write(tmp_path, "m", {b.id: b.barrier_ev + (0.1 if b in first else 9.0) for b in bands})
    write(tmp_path, "lone", {first[0].id: 1.0}, records=3)
    curves = learning_curves(read_results(tmp_path, bands))
    assert list(curves) == ["m"]
    (whole,) = [r for r in read_results(tmp_path, bands) if r.model == "m" and not r.records]
    assert "only" not in whole.description
    assert whole.on({b.id for b in first}).description.endswith("of these only 0")
    assert curves["m"] == pytest.approx({4: 0.4, 6: 0.3, len(bands) - len(first): 0.1})
    assert (tmp_path / "out" / "learning_curve.png") in plots(
        read_results(tmp_path, bands), tmp_path / "out"
    )


def test_scenarios_take_known_hosts_from_folds_of_paths(tmp_path):
    bands = host_bands()
    write(tmp_path, "m", {b.id: b.barrier_ev + 0.1 for b in bands})
    write(tmp_path, "m", {b.id: b.barrier_ev + 0.2 for b in bands}, "-paths", split="paths")
    cases = by_scenario(read_results(tmp_path, bands), bands)["m"]
    # Every host of these has an element of its own: an unseen host is an unseen element.
    assert cases["C"] == {
        "n": len(bands),
        "mae_ev": pytest.approx(0.1),
        "median_error_ev": pytest.approx(0.1),
        "bias_ev": pytest.approx(0.1),
    }
    assert cases["A"]["mae_ev"] == pytest.approx(0.2)
    assert 0 < cases["A"]["n"] <= len(bands)
    assert "B" not in cases


def test_plots(bands, tmp_path):
    exact = {b.id: b.barrier_ev for b in bands}
    write(tmp_path / "r", "plain", exact)
    found = read_results(tmp_path / "r", bands)
    assert [p.name for p in plots(found, tmp_path / "out")] == ["parity.png"]
    intervals = {i: [v - 0.1, v + 0.1 + v] for i, v in exact.items()}
    write(tmp_path / "r", "full", exact, intervals_90=intervals)
    written = plots(read_results(tmp_path / "r", bands), tmp_path / "out")
    assert [p.name for p in written] == ["parity.png", "calibration.png"]
    assert all(p.read_bytes().startswith(b"\x89PNG") and p.stat().st_size > 5000 for p in written)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ('{"predictions": [1]}', "not a cross-validation result"),
        ('{"predictions": {"0": "high"}, "model": "m", "folds": 5, "seed": 0}', "not a cross"),
        ('{"predictions": {"99": 1.0}, "model": "m", "folds": 5, "seed": 0}', "'99'"),
        ('{"other": 1}', "not a cross-validation result"),
    ],
)
def test_results_that_do_not_fit(bands, tmp_path, content, message):
    (tmp_path / "crossval-x.json").write_text(content)
    with pytest.raises(BadInput, match=message) as caught:
        read_results(tmp_path, bands)
    assert "\n" not in str(caught.value)


def test_a_folder_without_results(bands, tmp_path):
    with pytest.raises(BadInput, match="holds no result"):
        read_results(tmp_path, bands)


def test_a_model_is_scored_on_hosts_that_its_parts_have_not_seen(tmp_path):
    bands = host_bands()
    recipe = ModelRecipe(folds=3, forest=TreeSettings(trees=5))
    model = build_model(bands, recipe, tmp_path / "m", name="m")
    result = model_result(model, bands)
    row = scores(result)
    for figure in ("mae_ev", "r2", "interval_coverage_90"):
        assert row[figure] == pytest.approx(model.card["cross_validation"][figure])
    seen = np.array([p.barrier_ev for p in model.predict(bands)])
    assert np.abs(result.predicted_ev - seen).max() > 0.01
    with pytest.raises(BadInput, match="its own training data"):
        model_result(model, bands[:-1])
