"""The consortium's client against a local server that speaks OPTIMADE."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import TypeAdapter, ValidationError

from stores.errors import BadInput
from workflows.sources import CandidateOptions, SourceUnavailable, load_catalogue

pytest.importorskip("optimade.client", reason="the optimade extra is not installed")

HOSTS = load_catalogue({"Li"})[:5]
PAGE = 2


def entry(number, host):
    """Describe a host as the OPTIMADE standard has it."""
    structure = host.structure
    composition = structure.composition
    elements = sorted(element.symbol for element in composition)
    ratios = [composition.get_atomic_fraction(element) for element in elements]
    reduced = composition.reduced_composition.get_el_amt_dict()
    counts = sorted(reduced.values(), reverse=True)
    formula = {element: reduced[element] for element in elements}
    return {
        "id": f"host-{number}",
        "type": "structures",
        "attributes": {
            "elements": elements,
            "nelements": len(elements),
            "elements_ratios": ratios,
            "chemical_formula_descriptive": composition.formula,
            "chemical_formula_reduced": "".join(
                f"{e}{'' if n == 1 else int(n)}" for e, n in formula.items()
            ),
            "chemical_formula_anonymous": "".join(
                f"{letter}{'' if n == 1 else int(n)}"
                for letter, n in zip("ABCDEF", counts, strict=False)
            ),
            "dimension_types": [1, 1, 1],
            "nperiodic_dimensions": 3,
            "lattice_vectors": structure.lattice.matrix.tolist(),
            "cartesian_site_positions": structure.cart_coords.tolist(),
            "nsites": len(structure),
            "species": [
                {"name": e, "chemical_symbols": [e], "concentration": [1.0]} for e in elements
            ],
            "species_at_sites": [site.specie.symbol for site in structure],
            "structure_features": [],
            "last_modified": "2026-11-01T00:00:00Z",
        },
    }


@contextmanager
def server(entries, status=200):
    """Serve entries in pages; yield the base URL and the queries asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            query = {k: v[0] for k, v in parse_qs(urlsplit(self.path).query).items()}
            asked.append(query)
            start = int(query.get("page_offset", 0))
            more = start + PAGE < len(entries)
            link = f"{base}/v1/structures?page_offset={start + PAGE}" if more else None
            body = {
                "data": entries[start : start + PAGE],
                "links": {"next": {"href": link} if more else None},
                "meta": {
                    "api_version": "1.2.0",
                    "query": {"representation": "/structures"},
                    "more_data_available": more,
                    "data_available": len(entries),
                    "data_returned": len(entries),
                    "provider": {"prefix": "lab", "name": "Lab", "description": "Ours"},
                },
            }
            if status != 200:
                body = {"errors": [{"status": str(status), "title": "so it goes"}]}
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.api+json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            """Keep the test's output clean."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    base = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield base, asked
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def options(**given):
    return TypeAdapter(CandidateOptions).validate_python({"source": "optimade", **given})


@pytest.fixture
def entries():
    return [entry(number, host) for number, host in enumerate(HOSTS)]


def test_all_pages_are_read(entries):
    with server(entries) as (url, asked):
        records = list(options(url=url, filter="nelements<=4").records("Li"))
    assert [record.material_id for record in records] == [f"lab/host-{n}" for n in range(5)]
    for record, host in zip(records, HOSTS, strict=True):
        assert record.structure.matches(host.structure)
    assert len(asked) == 3
    assert asked[0]["filter"] == 'elements HAS "Li" AND (nelements<=4)'
    assert records[0].metadata["query"] == asked[0]["filter"]


def test_pages_are_asked_for_as_they_are_needed(entries):
    with server(entries) as (url, asked):
        list(islice(options(url=url).records("Li"), 2))
        assert len(asked) == 1
        assert len(list(options(url=url, limit=3).records("Li"))) == 3


def test_known_ones_and_bad_entries(entries):
    del entries[1]["attributes"]["lattice_vectors"]
    with server(entries) as (url, _):
        records = list(options(url=url).records("Li", known={"lab/host-0"}))
    assert records[0].known
    assert records[1].error.kind == "InvalidDocument"
    assert "\n" not in records[1].error.message
    assert all(record.structure for record in records[2:])


@pytest.mark.parametrize("status", [400, 500])
def test_a_server_that_fails(entries, status):
    with (
        server(entries, status) as (url, _),
        pytest.raises(SourceUnavailable, match="check the URL") as caught,
    ):
        list(options(url=url).records("Li"))
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there():
    with pytest.raises(SourceUnavailable, match="check the URL"):
        list(options(url="http://127.0.0.1:1", timeout=1).records("Li"))


def test_a_filter_that_is_none():
    with pytest.raises(BadInput, match=r"candidates\.filter"):
        list(options(url="http://127.0.0.1:1", filter="elements HAS HAS").records("Li"))


@pytest.mark.parametrize("url", ["lab.example", "https://me:hush@lab.example"])
def test_a_url_that_is_none(url):
    with pytest.raises(ValidationError):
        options(url=url)
