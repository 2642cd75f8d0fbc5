"""rank, show, status and retry on a real embedded store."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys

import pytest

from launch.cli import run_command
from launch.profile_plot import draw_profile
from stores.documents import (
    BarrierDoc,
    CandidateDoc,
    EnergyProfile,
    Failure,
    HopDoc,
    Provenance,
)
from stores.ranking import rank_materials
from stores.screen_store import open_store

ORIGIN = Provenance(versions={"hopscreen": "0"}, folder="/somewhere/jobs/001_score")
PROFILE = EnergyProfile(coordinate_ang=[0, 1, 2, 3], energy_ev=[0.0, 0.25, 0.4, 0.1])


def _candidate(name: str, **more) -> CandidateDoc:
    fields = {"formula": f"Li{name}", "source": "test", "screens": ["s-1"]} | more
    return CandidateDoc(
        candidate_id=f"{name}:Li", material_id=name, working_ion="Li", provenance=ORIGIN, **fields
    )


def _hop(name: str) -> HopDoc:
    return HopDoc(
        hop_id=f"hop{name}",
        candidate_id=f"{name}:Li",
        material_id=name,
        working_ion="Li",
        sites=(0, 0),
        translation=(1, 0, 0),
        length_ang=3.0,
        multiplicity=1,
        edges=[(0, 0, 1, 0, 0)],
        dimension=1,
        recipe_version=1,
        provenance=ORIGIN,
    )


def _barrier(name: str, level: str, value: float | None, **more) -> BarrierDoc:
    if value is None:
        more |= {"status": "failed", "error": Failure(kind="NotConverged", message="[300] steps")}
    else:
        more |= {"barrier_ev": value, "interval_90_ev": (value - 0.1, value + 0.1)}
    return BarrierDoc(
        barrier_id=f"{level}{name}",
        hop_id=f"hop{name}",
        candidate_id=f"{name}:Li",
        material_id=name,
        working_ion="Li",
        level=level,
        provenance=ORIGIN,
        **({"status": "done"} | more),
    )


@pytest.fixture
def store(tmp_path) -> str:
    """Two ranked materials, one with a failed NEB, one refused candidate, one without hops."""
    uri = str(tmp_path / "screen.store")
    with open_store(uri) as opened:
        done = {"hops_status": "done"}
        opened.put(
            [
                _candidate("A", **done),
                _candidate("B", **done),
                _candidate("C", status="rejected", rejected_by="toxic"),
                _candidate("D", hops_status="failed", error=Failure(kind="Odd", message="why")),
                _hop("A"),
                _hop("B"),
                _barrier("A", "band", 0.5),
                _barrier("A", "dft", 0.4, label="demo", profile=PROFILE),
                _barrier("B", "band", 0.3),
                _barrier("B", "mlip", None),
            ]
        )
        rank_materials(opened, temperature_k=300, dimension=1)
    return uri


@pytest.fixture
def run(capfd):
    """Run a command that must succeed; return its stdout and stderr."""

    def call(*words: str) -> tuple[str, str]:
        code = run_command(words)
        out, err = capfd.readouterr()
        assert code == 0, err
        return out, err

    return call


def test_rank_as_json_is_alone_on_stdout(store, run):
    out, err = run("rank", "--store", store, "--format", "json")
    rows = json.loads(out)
    assert err == ""
    assert [(row["rank"], row["material_id"], row["barrier_ev"]) for row in rows] == [
        (1, "B", 0.3),
        (2, "A", 0.4),
    ]
    contract = {"formula", "working_ion", "interval_90_ev", "level", "dimension"}
    assert contract | {"limiting_hop_id", "diffusivity_cm2_s"} <= set(rows[0])


def test_rank_top_where_and_csv(store, run):
    out, _ = run("rank", "--store", store, "--top", "1", "--format", "csv")
    [row] = csv.DictReader(io.StringIO(out))
    assert row["material_id"] == "B"
    out, _ = run("rank", "--store", store, "--where", '{"level": "dft"}', "--format", "json")
    assert [row["material_id"] for row in json.loads(out)] == ["A"]


def test_rank_table_marks_the_demo_level(store, run):
    out, _ = run("rank", "--store", store)
    [line] = [line for line in out.splitlines() if "LiA" in line]
    assert "DFT-NEB (demo)" in line
    assert "0.400" in line
    assert "0.30 … 0.50" in line


def test_show_material_and_hop(store, run):
    out, _ = run("show", "A", "--store", store)
    assert "hopA" in out
    assert "0.500" in out
    assert "●" in out
    out, _ = run("show", "hopB", "--store", store)
    assert "NotConverged" in out
    content = json.loads(run("show", "A:Li", "--store", store, "--format", "json")[0])
    assert content["candidate"]["material_id"] == "A"
    assert [one["level"] for one in content["hops"][0]["estimates"]] == ["band", "dft"]


def test_status_counts_and_groups(store, run):
    out, err = run("status", "--store", store)
    assert "1 NotConverged" in out
    assert "[300] steps" in out
    assert "1 by toxic" in out
    assert "retry" in err
    content = json.loads(run("status", "--store", store, "--format", "json")[0])
    stages = {stage["stage"]: stage for stage in content["stages"]}
    assert stages["mlip"]["failed"] == 1
    assert stages["band"]["done"] == 2
    assert {group["kind"] for group in content["failures"]} == {"NotConverged", "Odd"}


def test_retry_one_stage_then_all(store, run):
    _, err = run("retry", "--store", store, "--stage", "mace_neb")
    assert "1 mace_neb" in err
    with open_store(store, create=False) as opened:
        assert opened.count(BarrierDoc, {"status": "failed"}) == 0
        assert opened.count(BarrierDoc) == 3
        assert opened.count(CandidateDoc, {"hops_status": "failed"}) == 1
    _, err = run("retry", "--store", store)
    assert "1 hops" in err
    with open_store(store, create=False) as opened:
        host = opened.get(CandidateDoc, candidate_id="D:Li")
        assert host is not None
        assert (host.hops_status, host.error) == ("waiting", None)
    _, err = run("retry", "--store", store)
    assert "nothing has failed" in err


def test_reading_leaves_the_store_as_it_is(store, run):
    def documents():
        with open_store(store, create=False) as opened:
            return [list(c.query({})) for c in (opened.candidates, opened.barriers, opened.ranked)]

    before = documents()
    for words in (["rank"], ["status"], ["show", "A"]):
        run(*words, "--store", store)
    assert documents() == before


def test_pipe_closed_early(store):
    code = f"{sys.executable} -m launch rank --store {store} --format json | head -c 1"
    done = subprocess.run(code, shell=True, capture_output=True, env=os.environ, check=False)
    assert done.stdout == b"["
    assert done.stderr == b""


def test_profile_shows_every_image_at_its_height():
    lines = draw_profile(PROFILE, width=31, height=9).splitlines()
    marks = {
        (row, column - 9)
        for row, line in enumerate(lines)
        for column, char in enumerate(line)
        if char == "●"
    }
    assert marks == {(8, 0), (3, 10), (0, 20), (6, 30)}
    assert lines[0].startswith("  0.400 ┤")
    assert lines[8].startswith("  0.000 ┤")
    assert lines[-1].endswith("3.00 Å")


def test_profile_of_one_energy_is_drawn_too():
    flat = EnergyProfile(coordinate_ang=[0.0, 1.0], energy_ev=[0.0, 0.0])
    assert draw_profile(flat).count("●") == 2


def test_build_brings_the_ranking_up_to_date(store, run):
    with open_store(store) as opened:
        opened.put([_barrier("B", "dft", 0.6)])
    assert json.loads(run("rank", "--store", store, "--format", "json")[0])[0]["barrier_ev"] == 0.3
    out, err = run("rank", "--store", store, "--build", "--format", "json")
    assert [(row["material_id"], row["barrier_ev"]) for row in json.loads(out)] == [
        ("A", 0.4), ("B", 0.6),
    ]  # fmt: skip
    assert "rankings changed" in err
    _, err = run("rank", "--store", store, "--build")
    assert "0 rankings changed" in err
    out, err = run(
        "rank", "--store", store, "--rebuild", "--temperature", "500", "--format", "json"
    )
    assert {row["temperature_k"] for row in json.loads(out)} == {500}
    out, _ = run("rank", "--store", store, "--build", "--format", "json")  # as last time
    assert {row["temperature_k"] for row in json.loads(out)} == {500}
    _, err = run("rank", "--store", store, "--build", "--dimension", "2")
    assert "no ranked material yet" in err
    out, _ = run("rank", "--store", store, "--build", "--dimension", "1", "--format", "json")
    assert len(json.loads(out)) == 2


def test_sort_and_json_lines(store, run):
    out, _ = run("rank", "--store", store, "--sort", "-barrier_ev", "--format", "jsonl")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["material_id"], row["rank"]) for row in rows] == [("A", 2), ("B", 1)]


def test_pareto(store, run):
    with open_store(store) as opened:
        opened.put([_candidate("A", formula="Li2S"), _candidate("B", formula="LiCoO2")])
        rank_materials(opened)
    words = ["rank", "--store", store, "--pareto", "barrier_ev,hazard"]
    out, err = run(*words, "--format", "json")
    assert [row["material_id"] for row in json.loads(out)] == ["B", "A"]
    assert "2 of 2 materials are beaten by no other" in err
    assert "hazard" in run(*words)[0]
    out, err = run("rank", "--store", store, "--pareto", "all", "--format", "json")
    assert json.loads(out) == []
    assert "2 left out" in err  # their band gap is not known


def test_a_broken_document_is_named_on_stderr(store, run):
    with open_store(store) as opened:
        opened.ranked._collection.update_one({"_id": "A:Li"}, {"$set": {"barrier_ev": "low"}})
    out, err = run("rank", "--store", store, "--format", "json")
    assert [row["material_id"] for row in json.loads(out)] == ["B"]
    (line,) = err.splitlines()
    assert line.startswith("ranked: A:Li: barrier_ev: ")
    assert line.endswith("; document left out")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--where", '{"barier_ev": 1}'], "--where: no field 'barier_ev'; give one of barrier_ev"),
        (["--where", '{"$or": [{"rank": 1}]}'], "rank is counted"),
        (["--sort", "barrier"], "--sort: no field 'barrier'"),
        (["--pareto", "speed"], "--pareto: 'speed'"),
        (["--pareto", "all", "--sort", "hazard"], "leave --sort out"),
        (["--temperature", "400"], "add --build"),
        (["--build", "--temperature", "0"], "more than 0 K"),
        (["--build", "--dimension", "4"], "--dimension"),
    ],
)
def test_a_wrong_option_of_rank_is_one_line(store, capfd, words, wanted):
    assert run_command(["rank", "--store", store, *words]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert wanted in line


def test_no_store_is_made_by_a_build(tmp_path, capfd):
    assert run_command(["rank", "--store", str(tmp_path / "none"), "--build"]) == 2
    assert "not a hopscreen store" in capfd.readouterr().err
    assert not (tmp_path / "none").exists()
