"""Hosts from a MongoDB server, a JSON file, a past screen, and any store maggma can describe."""

import json

import pytest
from maggma.stores import JSONStore
from pydantic import TypeAdapter, ValidationError
from pymongo import MongoClient

from stores.documents import CandidateDoc, Provenance
from stores.errors import BadInput
from stores.screen_store import open_store
from workflows.sources import CandidateOptions, SourceUnavailable, load_catalogue

secantus = pytest.importorskip("secantus", reason="the test extra is not installed")

HOSTS = load_catalogue({"Li"})[:5]


def options(**given):
    return TypeAdapter(CandidateOptions).validate_python({"source": "store", **given})


def documents():
    return [
        {
            "task": {"id": host.material_id},
            "output": {"structure": host.structure.as_dict()},
            "hull": 0.01 * number,
            "gap": number,
            "paper": host.reference,
        }
        for number, host in enumerate(HOSTS)
    ]


FIELDS = {
    "material_id": "task.id",
    "structure": "output.structure",
    "energy_above_hull": "hull",
    "band_gap": "gap",
    "reference": "paper",
}


@pytest.fixture(scope="module")
def mongo(tmp_path_factory):
    server = secantus.SecantusDBServer(storage_path=str(tmp_path_factory.mktemp("mongo")))
    server.start()
    with MongoClient(server.uri) as client:
        client["lab"]["hosts"].insert_many(documents())
    yield server.uri.rstrip("/")
    server.stop()


def test_a_mongodb_collection_with_its_own_field_names(mongo):
    asked = options(uri=f"{mongo}/lab", collection="hosts", fields=FIELDS)
    records = {record.material_id: record for record in asked.records("Li")}
    assert sorted(records) == sorted(host.material_id for host in HOSTS)
    record = records[HOSTS[2].material_id]
    assert record.structure == HOSTS[2].structure
    assert record.energy_above_hull_ev == pytest.approx(0.02)
    assert record.band_gap_ev == 2.0
    assert record.reference == HOSTS[2].reference


def test_a_query_narrows_it_and_known_ones_are_not_fetched(mongo):
    asked = options(
        uri=f"{mongo}/lab", collection="hosts", fields=FIELDS, query={"gap": {"$gte": 3}}
    )
    known = {HOSTS[3].material_id}
    records = sorted(asked.records("Li", known), key=lambda r: r.known)
    assert [(r.material_id, r.known) for r in records] == [
        (HOSTS[4].material_id, False),
        (HOSTS[3].material_id, True),
    ]


def test_an_address_in_the_environment(mongo, monkeypatch):
    asked = options(uri="env:LAB_DATABASE", collection="hosts", fields=FIELDS)
    with pytest.raises(BadInput, match="LAB_DATABASE is not set"):
        list(asked.records("Li"))
    monkeypatch.setenv("LAB_DATABASE", f"{mongo}/lab")
    records = list(asked.records("Li"))
    assert len(records) == 5
    assert mongo not in repr(records)


def test_a_server_that_is_not_there():
    asked = options(uri="mongodb://127.0.0.1:1/lab?serverSelectionTimeoutMS=100", collection="x")
    with pytest.raises(SourceUnavailable, match="check the server"):
        list(asked.records("Li"))


def test_a_json_file_with_bad_documents(tmp_path):
    rows = [
        {"material_id": 7, "structure": HOSTS[0].structure.as_dict()},
        {"material_id": 8, "structure": HOSTS[0].structure.to(fmt="cif")},
        {"material_id": 9, "structure": {"lattice": 3}},
        {"material_id": 10},
        {"material_id": 11, "structure": HOSTS[0].structure.as_dict(), "band_gap": "wide"},
    ]
    path = tmp_path / "hosts.json"
    path.write_text(json.dumps(rows))
    records = {record.material_id: record for record in options(uri=str(path)).records("Li")}
    assert records["7"].structure == HOSTS[0].structure
    assert records["8"].structure.matches(HOSTS[0].structure)
    assert {i for i, record in records.items() if record.error} == {"9", "10", "11"}
    assert all("\n" not in r.error.message for r in records.values() if r.error)


def test_a_past_screen(tmp_path):
    folder = tmp_path / "screen"
    with open_store(str(folder)) as store:
        store.put(
            CandidateDoc(
                candidate_id=f"{host.material_id}:Li",
                material_id=host.material_id,
                source="catalogue",
                formula=host.structure.composition.reduced_formula,
                working_ion="Li",
                structure=host.structure.as_dict(),
                provenance=Provenance(versions={}),
            )
            for host in HOSTS
        )
    records = list(options(uri=str(folder), query={"status": "ok"}).records("Na"))
    assert {record.material_id for record in records} == {host.material_id for host in HOSTS}
    assert all(record.structure for record in records)


def test_any_store_that_maggma_describes(tmp_path):
    path = tmp_path / "hosts.json"
    rows = [{"n": number, **row} for number, row in enumerate(documents())]
    path.write_text(json.dumps(rows))
    described = JSONStore(str(path), read_only=True, key="n").as_dict()
    assert len(list(options(maggma=described, fields=FIELDS).records("Li"))) == 5


def test_documents_without_an_id_are_not_passed_over(tmp_path):
    path = tmp_path / "hosts.json"
    path.write_text(json.dumps([{"material_id": "a"}, {"name": "b"}]))
    with pytest.raises(BadInput, match="1 documents have no material_id"):
        list(options(uri=str(path)).records("Li"))


@pytest.mark.parametrize("content", ["{", '{"a": 1}', "[1]"])
def test_a_json_file_that_is_none(tmp_path, content):
    path = tmp_path / "hosts.json"
    path.write_text(content)
    with pytest.raises(BadInput, match=r"hosts\.json"):
        list(options(uri=str(path)).records("Li"))


def test_relative_paths_count_from_the_screening_file(tmp_path):
    asked = TypeAdapter(CandidateOptions).validate_python(
        {"source": "store", "uri": "hosts.json"}, context={"folder": tmp_path}
    )
    assert asked.uri == str(tmp_path / "hosts.json")
    with pytest.raises(BadInput, match="no such file or folder"):
        list(asked.records("Li"))


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"uri": "mongodb://host/lab"},
        {"uri": "mongodb://me:secret@host/lab", "collection": "x"},
        {"uri": "a.json", "maggma": JSONStore("x.json").as_dict()},
        {"maggma": {"@module": "subprocess", "@class": "Popen", "args": "true"}},
        {"maggma": {"@module": "maggma.stores", "@class": "MongoStore", "password": "hush"}},
        {"uri": "a.json", "fields": {"id": "x"}},
    ],
)
def test_options_that_make_no_sense(given):
    with pytest.raises(ValidationError) as caught:
        options(**given)
    said = " ".join(f"{error['msg']} {error['loc']}" for error in caught.value.errors())
    assert "secret" not in said
    assert "hush" not in said
