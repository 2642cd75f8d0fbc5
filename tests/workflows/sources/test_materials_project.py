"""The real mp-api client against a local server that speaks its API."""

import socket

import pytest
from pydantic import TypeAdapter, ValidationError

from stores.errors import BadInput
from workflows.sources import CandidateOptions, SourceUnavailable, load_catalogue, mp_client
from workflows.sources import materials_project as module

from .mp_server import MaterialsProjectServer

KEY = "k" * 32


def options(**given):
    return TypeAdapter(CandidateOptions).validate_python({"source": "materials_project", **given})


@pytest.fixture(scope="module")
def documents():
    hosts = load_catalogue({"Li"})[:12]
    return [
        {
            "material_id": f"mp-{number}",
            "structure": host.structure.as_dict(),
            "energy_above_hull": 0.01 * number,
            "band_gap": 1.5,
            "is_stable": number == 0,
            "theoretical": False,
            "formula_pretty": host.structure.composition.reduced_formula,
        }
        for number, host in enumerate(hosts)
    ]


@pytest.fixture
def server(documents, monkeypatch):
    state = MaterialsProjectServer(documents)
    monkeypatch.setattr(mp_client, "BACKOFF_S", (0.01, 0.01))
    monkeypatch.setenv("MP_API_KEY", KEY)
    with state.running() as endpoint:
        monkeypatch.setenv("MP_API_ENDPOINT", endpoint)
        yield state


def test_records_carry_structure_facts_and_provenance(server):
    records = list(options(energy_above_hull=[0, 0.05]).records("Li"))
    assert [record.material_id for record in records] == [f"mp-{n}" for n in range(6)]
    record = records[3]
    assert record.structure.composition.reduced_formula == "LiFePO4"
    assert record.energy_above_hull_ev == pytest.approx(0.03)
    assert record.band_gap_ev == 1.5
    assert record.metadata["database_version"] == "2026.11.1"
    assert record.metadata["query"]["elements"] == ["Li"]
    assert record.metadata["retrieved_at"].startswith("20")
    assert server.keys == {KEY}
    assert KEY not in repr(records)


def test_the_query_reaches_the_server_in_its_own_terms(server):
    asked = options(
        elements=["O"],
        exclude_elements=["Hg"],
        num_elements=[2, 4],
        num_sites=[2, 60],
        energy_above_hull=[0, 0.05],
        band_gap=[0.5, 10],
        theoretical=False,
        spacegroup_number=62,
        is_stable=True,
        possible_species=["Fe3+", "O2-"],
    )
    list(asked.records("Li"))
    first = server.requests[0]
    assert first["elements"] == "Li,O"
    assert first["exclude_elements"] == "Hg"
    assert (first["nelements_min"], first["nelements_max"]) == ("2", "4")
    assert (first["nsites_min"], first["nsites_max"]) == ("2", "60")
    assert (first["energy_above_hull_min"], first["energy_above_hull_max"]) == ("0.0", "0.05")
    assert (first["band_gap_min"], first["band_gap_max"]) == ("0.5", "10.0")
    assert (first["theoretical"], first["deprecated"]) == ("False", "False")
    assert first["spacegroup_number"] == "62"
    assert first["is_stable"] == "True"
    assert first["possible_species"] == "Fe3+,O2-"
    assert first["_fields"] == "material_id"


def test_chemical_systems_with_wildcards_are_asked_for_one_at_a_time(server):
    list(options(chemsys=["Li-*-O", "Li-*-S"]).records("Li"))
    assert [request.get("chemsys") for request in server.requests[:2]] == ["Li-*-O", "Li-*-S"]
    server.requests.clear()
    list(options(chemsys=["Li-P-S", "Li-Co-O"]).records("Li"))
    assert server.requests[0]["chemsys"] == "Li-P-S,Li-Co-O"
    assert "elements" not in server.requests[0]


def test_only_the_fields_needed_are_fetched(server):
    list(options().records("Li"))
    assert server.requests[-1]["_fields"].split(",") == module.FIELDS


def test_ids_and_limit(server):
    asked = options(material_ids=["mp-7", "mp-3", "mp-11"], limit=2)
    assert [record.material_id for record in asked.records("Li")] == ["mp-3", "mp-7"]


def test_a_stopped_screen_goes_on_where_it_stood(server, monkeypatch):
    monkeypatch.setattr(module, "PAGE", 3)
    server.fail = lambda number: 500 if number >= 3 else None  # ids, two pages, then nothing
    got = []
    with pytest.raises(SourceUnavailable, match="server failed \\(500\\)"):
        got.extend(options().records("Li"))
    # extend() took what came before the failure.
    assert [record.material_id for record in got] == [f"mp-{n}" for n in range(6)]

    server.fail = lambda number: None
    server.requests.clear()
    again = list(options().records("Li", known={record.material_id for record in got}))
    assert len(again) == 12
    assert [record.material_id for record in again if record.known] == [f"mp-{n}" for n in range(6)]
    assert [request["material_ids"] for request in server.requests[1:]] == [
        "mp-6,mp-7,mp-8",
        "mp-9,mp-10,mp-11",
    ]


def test_a_second_screen_fetches_only_what_is_new(server):
    first = {record.material_id for record in options(energy_above_hull=[0, 0.05]).records("Li")}
    server.requests.clear()
    second = list(options(energy_above_hull=[0, 0.08]).records("Li", known=first))
    assert sum(record.known for record in second) == 6
    assert server.requests[1]["material_ids"] == "mp-6,mp-7,mp-8"


def test_a_broken_document_is_a_record_with_its_error(server, documents):
    server.documents["mp-2"] = {**documents[2], "energy_above_hull": 0.0, "band_gap": "wide"}
    del server.documents["mp-4"]["band_gap"]
    no_lattice = {"sites": documents[5]["structure"]["sites"]}
    server.documents["mp-5"] = {**documents[5], "structure": no_lattice}
    records = {record.material_id: record for record in options().records("Li")}
    assert len(records) == 12
    assert "band_gap" in records["mp-2"].error.message
    assert records["mp-4"].structure is not None
    assert records["mp-4"].band_gap_ev is None
    assert records["mp-5"].error.kind == "InvalidDocument"
    assert all("\n" not in r.error.message for r in records.values() if r.error)


def test_a_withdrawn_document_is_a_record_with_its_error(server):
    stream = options().records("Li")
    listed = server.summary

    def withdraw_after_listing(asked):
        answer = listed(asked)
        server.documents.pop("mp-1", None)
        return answer

    server.summary = withdraw_after_listing
    records = {record.material_id: record for record in stream}
    assert "withdrawn" in records["mp-1"].error.message


@pytest.mark.parametrize(
    ("key", "said"),
    [("", "no Materials Project key"), ("tooshort", "not 32 characters")],
)
def test_key_missing_or_short(server, monkeypatch, key, said):
    monkeypatch.setenv("MP_API_KEY", key)
    monkeypatch.setattr("pymatgen.core.SETTINGS", {})
    with pytest.raises(BadInput, match=said) as caught:
        next(options().records("Li"))
    assert "MP_API_KEY" in str(caught.value)
    assert not key or key not in str(caught.value)
    assert server.requests == []


def test_key_from_the_pymatgen_settings(server, monkeypatch):
    monkeypatch.delenv("MP_API_KEY")
    monkeypatch.setattr("pymatgen.core.SETTINGS", {"PMG_MAPI_KEY": "p" * 32})
    next(options().records("Li"))
    assert server.keys == {"p" * 32}


@pytest.mark.parametrize(
    ("failure", "kind", "said"),
    [
        (401, BadInput, "refuses the key (401)"),
        (403, BadInput, "refuses the key (403)"),
        (400, BadInput, "does not accept the query"),
        (422, BadInput, "does not accept the query"),
        (429, SourceUnavailable, "too many requests (429)"),
        (500, SourceUnavailable, "server failed (500)"),
        (503, SourceUnavailable, "server failed (503)"),
        (502, SourceUnavailable, "gateway fails"),
        ("truncated", SourceUnavailable, "not valid JSON"),
        ("page", SourceUnavailable, "not valid JSON"),
    ],
)
def test_each_failure_is_one_line_with_a_remedy(server, failure, kind, said):
    server.fail = lambda number: failure
    with pytest.raises(kind) as caught:
        list(options().records("Li"))
    message = str(caught.value)
    assert said in message
    assert "\n" not in message
    assert KEY not in message
    assert len(message) < 300


@pytest.mark.parametrize("failure", [429, 500, 502, "truncated"])
def test_a_passing_failure_is_waited_out(server, failure):
    server.fail = lambda number: failure if number == 1 else None
    assert len(list(options().records("Li"))) == 12


def test_a_silent_server_is_given_up(server, monkeypatch):
    server.fail = lambda number: "silent"
    monkeypatch.setattr("mp_api.client.core.client.MAPI_CLIENT_SETTINGS.MAX_RETRIES", 0)
    with pytest.raises(SourceUnavailable, match="no answer within 1 s; raise"):
        list(options(timeout=1).records("Li"))


@pytest.mark.parametrize(
    ("failure", "kind", "said"),
    [
        (401, BadInput, "refuses the key (401)"),
        (403, BadInput, "refuses the key (403)"),
        (429, SourceUnavailable, "too many requests (429)"),
        (500, SourceUnavailable, "server failed (500)"),
        (502, SourceUnavailable, "server failed (502)"),
        ("truncated", SourceUnavailable, "not valid JSON"),
        ("page", SourceUnavailable, "not valid JSON"),
        ("silent", SourceUnavailable, "no answer within 1 s"),
    ],
)
def test_each_failure_of_the_first_request(server, failure, kind, said):
    server.greet = lambda: failure
    with pytest.raises(kind) as caught:
        list(options(timeout=1).records("Li"))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert KEY not in str(caught.value)
    assert server.requests == []


def test_the_waits_grow(server, monkeypatch):
    waits = []
    monkeypatch.setattr(mp_client, "BACKOFF_S", (2.0, 8.0, 30.0))
    monkeypatch.setattr(mp_client.time, "sleep", waits.append)
    server.fail = lambda number: 429
    with pytest.raises(SourceUnavailable, match="too many requests"):
        list(options().records("Li"))
    assert [wait for wait in waits if wait in (2.0, 8.0, 30.0)] == [2.0, 8.0, 30.0]


def test_offline(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("MP_API_KEY", KEY)
    monkeypatch.setenv("MP_API_ENDPOINT", f"http://127.0.0.1:{port}/")
    with pytest.raises(SourceUnavailable, match="cannot be reached; check the network"):
        next(options().records("Li"))


@pytest.mark.parametrize(
    "given",
    [
        {"api_key": KEY},
        {"energy_above_hull": [0.1, 0]},
        {"energy_above_hull": [0, 500]},
        {"num_sites": "few"},
        {"elements": ["Xx"]},
        {"material_ids": ["149"]},
        {"spacegroup_number": 231},
        {"limit": 0},
    ],
)
def test_impossible_options_are_refused(given):
    with pytest.raises(ValidationError):
        options(**given)


def test_a_missing_key_is_known_before_anything_is_asked(monkeypatch):
    monkeypatch.delenv("MP_API_KEY", raising=False)
    monkeypatch.setattr("pymatgen.core.SETTINGS", {})
    with pytest.raises(BadInput, match="no Materials Project key"):
        module.MaterialsProjectOptions(source="materials_project", elements=["O"]).check()
