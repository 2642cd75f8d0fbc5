"""Questions to a store: ranking, look-ups, summary, exports; and the page that documents them."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from stores import export, queries
from stores.documents import CandidateDoc, Failure
from stores.errors import BadInput
from stores.ranking import rank_materials
from stores.screen_store import open_store

X, Y, Z = (0, 0, 1, 0, 0), (0, 0, 0, 1, 0), (0, 0, 0, 0, 1)
PAGE = Path(__file__).parents[2] / "docs" / "queries.md"


@pytest.fixture
def screened(store, samples):
    """Four materials: three ranked, one whose calculations failed; one candidate refused."""
    put = store.put
    for material, ion, value, gap, hull in (
        ("good", "Li", 0.25, 3.0, 0.0),
        ("metal", "Li", 0.15, 0.0, 0.01),
        ("sodium", "Na", 0.30, 4.0, 0.05),
    ):
        hop = samples.hop(f"{material}-x", [X, Y, Z], material, ion=ion)
        put([samples.candidate(material, ion, band_gap_ev=gap, energy_above_hull_ev=hull,
                               hops_status="done", screens=["s"])])  # fmt: skip
        put([hop, samples.barrier(hop, "band", value, 0.05)])
    far = samples.hop("metal-x", [X, Y, Z], "metal")
    put([samples.barrier(far, "mlip", 0.6, 0.05), samples.barrier(far, "dft", None)])
    bad = samples.hop("bad-x", [X], "bad")
    put([samples.candidate("bad", hops_status="done", screens=["s"]), bad])
    put([samples.barrier(bad, "band", None)])
    error = Failure(kind="SpglibError", message="no symmetry")
    put([samples.candidate("odd", hops_status="failed", error=error, screens=["s"])])
    put([samples.candidate("waits", screens=["other"]), samples.hop("waits-x", [X], "waits")])
    put([samples.candidate("none", status="rejected", rejected_by="working_ion", screens=["s"])])
    error = Failure(kind="ParseError", message="bad", folder="/cif")
    put([samples.candidate("cif", status="failed", screens=["s"], error=error)])
    rank_materials(store)
    return store


def _names(docs):
    return [doc.material_id for doc in docs]


def test_ranked_is_sorted_and_cut(screened):
    assert _names(queries.ranked(screened)) == ["good", "sodium", "metal"]
    assert _names(queries.ranked(screened, top=1)) == ["good"]
    assert _names(queries.ranked(screened, top=2, skip=1)) == ["sodium", "metal"]
    assert _names(queries.ranked(screened, sort={"band_gap_ev": -1})) == ["sodium", "good", "metal"]


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ({"working_ion": "Li"}, ["good", "metal"]),
        ('{"barrier_ev": {"$lt": 0.35}, "band_gap_ev": {"$gt": 2}}', ["good", "sodium"]),
        ('{"$or": [{"levels_disagree": true}, {"limits.3.barrier_ev": 0.3}]}', ["sodium", "metal"]),
        ('{"formula": {"$regex": "^Na"}}', ["sodium"]),
        ('{"provenance.created_at": {"$gt": {"$date": "2026-01-01T00:00:00Z"}}}', None),
        ("{}", ["good", "sodium", "metal"]),
    ],
)
def test_where(screened, where, names):
    names = ["good", "sodium", "metal"] if names is None else names
    assert _names(queries.ranked(screened, where=where)) == names
    assert queries.count_ranked(screened, where) == len(names)


@pytest.mark.parametrize(
    "where",
    [
        "{barrier_ev: 1}", "[]", "3", '"x"', '{"barrier_ev": {"$lt": 0.3}', '{"a": {"$wrong": 1}}',
        '{"$wrong": []}', '{"$where": "sleep(1000)"}', '{"$or": [{"a": {"$where": "1"}}]}',
        '{"$or": 1}', '{"a": {"$in": 1}}', '{"a": {"$date": "now"}}', '{"a": {"$regex": "("}}',
    ],
)  # fmt: skip
def test_a_bad_filter_is_one_line(screened, where):
    with pytest.raises(BadInput, match=r"^--where: ") as caught:
        queries.ranked(screened, where=where)
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value)  # what is wrong; what to do


def test_top_must_be_positive(screened):
    with pytest.raises(BadInput, match="--top: 0"):
        queries.ranked(screened, top=0)


def test_look_up(screened):
    material = queries.look_up(screened, "metal")
    assert isinstance(material, queries.MaterialView)
    assert material.ranked.barrier_ev == 0.6
    levels = [(doc.level, doc.status) for doc in material.hops[0].estimates]
    assert levels == [("band", "done"), ("mlip", "done"), ("dft", "failed")]
    assert material.hops[0].best.level == "mlip"
    assert queries.look_up(screened, "metal:Li") == material
    hop = queries.look_up(screened, "metal-x")
    assert hop == material.hops[0]
    assert queries.look_up(screened, hop.estimates[0].barrier_id) == hop
    assert queries.look_up(screened, "bad").ranked is None


def test_look_up_of_what_is_not_there_or_not_clear(screened, samples):
    with pytest.raises(BadInput, match="no material or hop 'nothing'"):
        queries.look_up(screened, "nothing")
    screened.put([samples.candidate("metal", "Na")])
    with pytest.raises(BadInput, match="give one of metal:Li, metal:Na"):
        queries.look_up(screened, "metal")


def _counts(found):
    return {s.stage: (s.done, s.failed, s.waiting) for s in found.stages}


def test_summary_of_the_store(screened):
    found = queries.summary(screened)
    assert _counts(found) == {
        "candidates": (6, 1, 0),
        "hops": (4, 1, 1),
        "band": (3, 1, 1),
        "mlip": (1, 0, None),
        "dft": (0, 1, None),
        "ranked": (3, 0, None),
    }
    assert found.rejected == {"working_ion": 1}
    assert [(g.stage, g.kind, g.count) for g in found.failures] == [
        ("band", "NotConverged", 1),
        ("candidates", "ParseError", 1),
        ("dft", "NotConverged", 1),
        ("hops", "SpglibError", 1),
    ]
    assert [g.example.folder for g in found.failures] == ["/calc", "/cif", "/calc", "/calc"]


def test_summary_of_a_screen(screened):
    found = _counts(queries.summary(screened, "other"))
    assert found["candidates"] == (1, 0, 0)
    assert found["hops"] == (0, 0, 1)
    assert found["band"] == (0, 0, 1)
    assert found["ranked"] == (0, 0, None)
    assert queries.failures(screened, "other") == []


def test_an_empty_store_answers(store):
    assert queries.ranked(store) == []
    assert all(s.done == s.failed == 0 for s in queries.summary(store).stages)


CONTRACT = [
    "rank", "material_id", "formula", "working_ion", "barrier_ev", "interval_90_ev", "level",
    "dimension", "limiting_hop_id", "diffusivity_cm2_s",
]  # fmt: skip


def test_json_has_the_keys_of_the_contract(screened):
    rows = json.loads(export.to_json(queries.ranked(screened)))
    assert [row["material_id"] for row in rows] == ["good", "sodium", "metal"]
    assert all(set(CONTRACT) <= row.keys() for row in rows)
    first = rows[0]
    assert first["interval_90_ev"] == pytest.approx([0.2, 0.3])
    assert first["barrier_3d_ev"] == 0.25
    lines = export.to_json_lines(queries.ranked(screened)).splitlines()
    assert [json.loads(line) for line in lines] == rows


def test_csv_and_frame_hold_the_same(screened):
    docs = queries.ranked(screened)
    rows = list(csv.DictReader(io.StringIO(export.to_csv(docs))))
    frame = export.to_frame(docs)
    assert list(rows[0]) == list(frame.columns) == list(export.COLUMNS)
    assert [float(row["interval_90_ev_low"]) for row in rows] == list(frame["interval_90_ev_low"])
    assert export.to_csv([]).startswith("rank,material_id")


def test_a_spreadsheet_runs_no_formula(screened, samples):
    doc = queries.ranked(screened)[0].model_copy(update={"material_id": '=HYPERLINK("x")'})
    assert "\n1,\"'=HYPERLINK(" in export.to_csv([doc])


def _blocks():
    text = PAGE.read_text()
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def test_the_page_of_queries_runs(screened, samples, uri):
    """Every block of docs/queries.md, in one session, on the store of this test."""
    scope = {"STORE": uri}
    for block in _blocks():
        exec(compile(block, str(PAGE), "exec"), scope)
    scope["store"].close()
    # what the page says that it finds, found
    assert _names(scope["electrolytes"]) == ["good"]
    assert scope["disagreeing"] == ["metal:Li"]
    assert {row["_id"]["kind"] for row in scope["failed"]} == {"NotConverged"}
    assert scope["page"][0].material_id == "good"
    assert {row["_id"] for row in scope["per_ion"]} == {"Li", "Na"}
    assert scope["parity"]
    assert set(scope["frame"]["material_id"]) == {"good", "sodium", "metal"}


def test_the_candidates_of_a_screen(screened):
    with open_store(screened.uri, create=False) as reader:
        assert "good:Li" in reader.ids(CandidateDoc, {"screens": "s"})
