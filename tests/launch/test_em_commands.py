"""hopscreen em: what it prints, what it refuses, and learning from a store."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from launch.cli import run_command
from launch.em_store import store_bands
from stores.documents import BarrierDoc, CandidateDoc, Provenance
from stores.screen_store import open_store
from workflows.hops import distinct_hops, to_doc

ORIGIN = Provenance(versions={"hopscreen": "0"})
METALS = ("Ti", "V", "Cr", "Mn", "Fe", "Co")


def record(n: int, **changes) -> dict:
    """A band in a 2 × 2 × 2 shaken perovskite-like cell."""
    rng = np.random.default_rng(n)
    sites, species = [], []
    for shift in np.ndindex(2, 2, 2):
        for symbol, place in (
            (METALS[n % 6], (0.5, 0.5, 0.5)),
            ("O", (0.5, 0.5, 0.0)),
            ("O", (0.5, 0.0, 0.5)),
            ("O", (0.0, 0.5, 0.5)),
        ):
            species.append(symbol)
            sites.append((np.array(place) + shift) / 2 + rng.normal(scale=0.01, size=3))
    path = np.linspace(0, 0.5, 5)[:, None] * np.array([1.0, 0.0, 0.0])
    fields = {
        "id": str(n),
        "working_ion": "Li",
        "barrier_ev": 0.3 + 0.05 * n,
        "lattice": (7.9 * np.eye(3)).tolist(),
        "species": ["Li"] * 5 + species,
        "frac_coords": np.vstack([path, sites]).tolist(),
    }
    return {k: v for k, v in (fields | changes).items() if v is not None}


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "bands.jsonl"
    path.write_text("\n".join(json.dumps(record(n)) for n in range(18)))
    return path


@pytest.fixture
def run(capfd):
    def call(*words, code: int = 0) -> tuple[str, str]:
        assert run_command(["em", *map(str, words)]) == code
        return capfd.readouterr()

    return call


@pytest.fixture
def store(tmp_path) -> str:
    """One host with a DFT barrier, a demo one and a failed one."""
    uri = str(tmp_path / "screen.store")
    host = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.2), ["Li", "Ni", "O"], [[0.5] * 3, [0, 0, 0], [0.25] * 3]
    ).get_primitive_structure()
    hop = distinct_hops(host, "Li").hops[0]
    candidate = CandidateDoc(
        candidate_id="x:Li",
        material_id="x",
        source="test",
        formula=host.composition.reduced_formula,
        working_ion="Li",
        structure=host.as_dict(),
        screens=["s"],
        provenance=ORIGIN,
    )
    doc = to_doc(hop, candidate, "vacancy", ORIGIN)

    def barrier(key: str, **fields) -> BarrierDoc:
        return BarrierDoc(
            barrier_id=key,
            hop_id=doc.hop_id,
            candidate_id="x:Li",
            material_id="x",
            working_ion="Li",
            provenance=ORIGIN,
            **({"level": "dft", "status": "done"} | fields),
        )

    with open_store(uri) as opened:
        opened.put(
            [
                candidate,
                doc,
                barrier("good", barrier_ev=0.42, interval_90_ev=(0.3, 0.6)),
                barrier("demo", barrier_ev=9.0, interval_90_ev=(8.0, 10.0), label="demo"),
                barrier("cheap", barrier_ev=9.0, interval_90_ev=(8.0, 10.0), level="mlip"),
                barrier("lost", status="failed"),
            ]
        )
    return uri


def test_evaluate_prints_the_contract_alone(run, data):
    out, _ = run("evaluate", data, "--format", "json")
    found = json.loads(out)
    assert {
        "n", "r2", "mae_ev", "rmse_ev", "r2_se", "mae_se_ev", "good_accuracy",
        "good_precision", "good_recall", "interval_coverage_90", "paths_per_s",
    } <= set(found)  # fmt: skip
    assert found["n"] == 18
    other, _ = run("evaluate", data, "--threshold", "0.01", "--format", "json")
    assert json.loads(other)["good_recall"] is None


def test_predict_needs_no_barriers_and_does_not_look_at_them(run, data, tmp_path):
    rows = json.loads(run("predict", data, "--format", "json")[0])
    assert [row["id"] for row in rows] == [str(n) for n in range(18)]
    low, high = rows[0]["interval_90_ev"]
    assert 0 <= low <= rows[0]["barrier_ev"] <= high
    blank = tmp_path / "blank.jsonl"
    blank.write_text("\n".join(json.dumps(record(n, barrier_ev=None)) for n in range(18)))
    assert json.loads(run("predict", blank, "--format", "json")[0]) == rows
    assert "barrier (eV)" in run("predict", blank)[0]


def test_list_names_the_shipped_model(run):
    names = [row["name"] for row in json.loads(run("list", "--format", "json")[0])]
    assert "default" in names


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["evaluate", "nowhere.jsonl"], "nowhere.jsonl"),
        (["predict", "DATA", "--model", "nonesuch"], "nonesuch"),
        (["predict", "DATA", "--device", "abacus"], "abacus"),
        (["finetune", "DATA", "--out", "x", "--recipe", "nonesuch"], "nonesuch"),
        (["finetune", "DATA", "--out", "x", "--store", "nowhere.store"], "nowhere.store"),
        (["pretrain", "DATA", "--out", "x"], "property"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(run, data, tmp_path, monkeypatch, words, named):
    monkeypatch.chdir(tmp_path)
    out, err = run(*(str(data) if w == "DATA" else w for w in words), code=2)
    assert out == ""
    assert named in err.strip().splitlines()[-1]
    assert "Traceback" not in err


def test_store_bands_are_the_finished_dft_results(store):
    (band,) = store_bands(store, weight=2.0)
    assert (band.id, band.barrier_ev, band.weight) == ("good", 0.42, 2.0)
    assert len(band.band_sites) == 5
    assert [b.id for b in store_bands(store, demo=True)] == ["demo", "good"]


def test_a_finetuned_model_is_a_version_and_says_whether_it_is_better(
    run, data, store, tmp_path, monkeypatch
):
    models = tmp_path / "models"
    monkeypatch.setenv("HOPSCREEN_MODELS", str(models))
    run("finetune", data, "--encoder", "none", "--out", models / "mine")
    first = json.loads((models / "mine" / "card.json").read_text())
    words = ["finetune", data, "--base", "mine", "--encoder", "none", "--store", store]
    found = json.loads(run(*words, "--store-weight", "3", "--format", "json")[0])
    assert found["model"] == "mine-v2"
    beside = found["beside_base"]
    assert beside["base_mae_ev"] == pytest.approx(first["cross_validation"]["mae_ev"])
    assert beside["improved"] == (beside["mae_ev"] < beside["base_mae_ev"])
    assert beside["store"]["bands"] == 1
    data_of = json.loads((models / "mine-v2" / "card.json").read_text())["data"]
    assert data_of["parent"] == {"name": "mine", "sha256": first["sha256"]}
    assert (data_of["version"], data_of["bands"], data_of["store_weight"]) == (2, 19, 3.0)
    # The base is as it was; the next version has the next number.
    assert json.loads((models / "mine" / "card.json").read_text()) == first
    _, err = run("finetune", data, "--base", "mine-v2", "--encoder", "none")
    assert "mine-v3" in err
    names = [row["name"] for row in json.loads(run("list", "--format", "json")[0])]
    assert {"mine", "mine-v2", "mine-v3", "default"} <= set(names)


def test_finetune_takes_a_store_along_and_never_overwrites_a_shipped_model(
    run, data, store, tmp_path
):
    out, err = run("finetune", data, "--store", store, "--out", tmp_path / "mine")
    assert "# Band model `mine`" in out
    assert "so the two do not compare" in err  # the shipped model was trained on other data
    assert "on the 1 bands of the store" in err
    card = json.loads((tmp_path / "mine" / "card.json").read_text())
    assert card["data"]["bands"] == 19
    assert card["data"]["from_store"] == 1
    assert card["data"]["commands"] == [
        "hopscreen em finetune bands.jsonl --encoder default --recipe finetune --out models/mine"
    ]
    rows = json.loads(run("predict", data, "--model", tmp_path / "mine", "--format", "json")[0])
    assert len(rows) == 18

    from em_model.predictor import find_model

    _, err = run("finetune", data, "--encoder", "none", "--out", find_model("default"), code=2)
    assert "shipped model" in err
