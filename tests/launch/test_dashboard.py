"""Pages of the dashboard, asked over WSGI, on a folder and on a MongoDB-wire server."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import ase.io
import pytest
import sample_screen
from fireworks import Firework, LaunchPad, PyTask, Workflow
from flask.testing import FlaskClient
from pymatgen.core import Structure
from secantus import SecantusDBServer

from launch.cli import run_command
from launch.dashboard.app import create_app
from launch.managers import progress_of
from launch.submissions import claim_submission
from stores.screen_store import ScreenStore, open_store

_names = itertools.count()

PAGES = ("/", "/funnel", "/parity", "/jobs")


@pytest.fixture(scope="module", params=["folder", "mongodb"])
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


def place(backend: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """Return the address of a new store."""
    if backend == "folder":
        return str(folder / "screen")
    return f"{request.getfixturevalue('mongo_server')}/dashboard_{next(_names)}"


@pytest.fixture
def uri(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return place(backend, request, tmp_path)


@pytest.fixture(scope="module")
def store(
    backend: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ScreenStore]:
    """The sample screen; every test only reads it."""
    uri = place(backend, request, tmp_path_factory.mktemp("dashboard"))
    with open_store(uri) as writer:
        sample_screen.write(writer)
    with open_store(uri, create=False) as opened:
        yield opened


@pytest.fixture(scope="module")
def client(store: ScreenStore) -> FlaskClient:
    return create_app(store).test_client()


def text(client: FlaskClient, path: str, code: int = 200, **query: str | list[str]) -> str:
    answer = client.get(path, query_string=query)
    assert answer.status_code == code, answer.text
    return answer.text


def ids(client: FlaskClient, **query: str | list[str]) -> list[str]:
    """Ids of the materials in the order that the ranking shows them."""
    rows = text(client, "/ranking.jsonl", **query).splitlines()
    page = text(client, "/", **query)
    links = re.findall(r'<th scope="row" class="name"><a href="/material\?id=([^"]+)"', page)
    assert len(links) == len(rows)
    return ["H" if "onerror" in row else json.loads(row)["material_id"] for row in rows]


def test_ranking_shows_materials_with_intervals_and_what_they_rest_on(client):
    page = text(client, "/")
    assert ids(client) == ["A", "B", "C", "H"]
    assert "Li<sub>2</sub>O" in page
    assert "0.18 – 0.43" in page
    assert "DFT-NEB" in page
    assert "demo" in page
    assert "<strong>4</strong> materials" in page


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"q": "Li2S"}, ["B", "C"]),
        ({"q": "A"}, ["A"]),
        ({"ion": "Li"}, ["A", "B", "C", "H"]),
        ({"ion": "Na"}, []),
        ({"max_barrier": "0.5"}, ["A", "B"]),
        ({"max_barrier": "0,5"}, ["A", "B"]),
        ({"max_upper": "0.45"}, ["A"]),
        ({"min_gap": "2"}, ["A"]),
        ({"max_hull": "0.02"}, ["A", "B", "C"]),
        ({"conducts": "3"}, ["A", "B", "C", "H"]),
        ({"level": ["band"]}, ["B", "C"]),
        ({"level": ["dft", "mlip"]}, ["A", "H"]),
        ({"disagree": "1"}, []),
        ({"where": '{"num_failed": {"$gt": 0}}'}, ["C", "H"]),
        ({"q": "Li2", "max_barrier": "0.5", "min_gap": "0.5"}, ["A", "B"]),
        ({"sort": "gap"}, ["B", "A"]),
        ({"sort": "gap", "order": "desc"}, ["A", "B"]),
        ({"sort": "barrier", "order": "desc"}, ["H", "C", "B", "A"]),
        ({"sort": "formula", "max_barrier": "0.7"}, ["A", "B", "C"]),
        ({"sort": "diffusivity", "order": "desc"}, ["A", "B", "C", "H"]),
    ],
)
def test_filters_and_order_are_the_databases(client, query, expected):
    assert ids(client, **query) == expected


def test_elements_filter(client):
    assert ids(client, **{"with": "O", "q": "Li2"}) == ["A"]
    assert ids(client, without="O, Se", q="Li2") == ["B"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"max_barrier": "low"}, "max_barrier: &#39;low&#39; is not a number"),
        ({"max_barrier": "inf"}, "is not a number"),
        ({"with": "Sulphur"}, "is no element"),
        ({"sort": "colour"}, "sort: &#39;colour&#39; is not known"),
        ({"conducts": "4"}, "give 2 or 3"),
        ({"where": "{"}, "not valid JSON"),
        ({"where": '{"$where": "1"}'}, "not allowed"),
        ({"where": '{"barrier_ev": {"$like": 1}}'}, "$like"),
    ],
)
def test_what_cannot_be_asked_is_answered_in_a_line(client, query, words):
    for path in ("/", "/ranking.csv"):
        assert words in text(client, path, 400, **query)


def test_links_keep_filters_order_and_page(client):
    page = text(client, "/", max_barrier="0.5", level=["band", "dft"], sort="gap", order="desc")
    links = re.findall(r'href="(/\?[^"]*)"', page)
    assert links
    kept = "max_barrier=0.5&amp;level=band&amp;level=dft"
    assert all(kept in link for link in links)
    assert f"/ranking.csv?{kept}&amp;sort=gap&amp;order=desc" in page
    assert 'value="0.5"' in page


def test_pages_are_cut_by_the_database(uri):
    with open_store(uri) as writer:
        for number in range(117):
            name = f"m{number:03d}"
            hop = sample_screen.hop(name)
            writer.put([sample_screen.candidate(name, structure=None)])
            writer.put([hop])
            writer.put([sample_screen.barrier(hop, "band", 0.2 + number / 1000)])
        sample_screen.rank_materials(writer)
    with open_store(uri, create=False) as opened:
        client = create_app(opened).test_client()
        page = text(client, "/", page="3")
        assert page.count('class="name"') == 17
        assert ">m116<" in page.replace(" ", "")
        assert "page 3 of 3" in page
        # A page beyond the last is the last one.
        assert text(client, "/", page=str(10**30)) == text(client, "/", page="3")
        assert text(client, "/", page="99") == text(client, "/", page="3")
        assert len(text(client, "/ranking.csv").splitlines()) == 118


def test_csv_is_the_table_as_filtered(client):
    answer = client.get("/ranking.csv", query_string={"q": "Li2", "sort": "gap"})
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["material_id"] for row in rows] == ["B", "A"]
    assert rows[1]["barrier_ev"] == "0.28"
    assert rows[1]["rank"] == "1"
    assert "attachment" in answer.headers["Content-Disposition"]
    nothing = text(client, "/ranking.csv", q="nothing")
    assert nothing.splitlines() == [",".join(rows[0])]


def test_material_page_shows_all_that_is_known(client):
    page = text(client, "/material", id="A:Li")
    for words in (
        "Limit in 3D", "0.280", "band model", "MACE-NEB", "DFT-NEB", "limits 1D, 2D, 3D",
        "mini", "abababababab", "/calc/jobs/2", "mace-torch 0.3", "75.0 s", "64 atoms",
        "image 2 is a minimum", "extended XYZ", "converged", "0.300 eV, 0.280 eV",
    ):  # fmt: skip
        assert words in page, words
    figure = json.loads(
        re.search(r'id="profile-data">(.*?)</script>', page, re.DOTALL)[1]  # type: ignore[index]
    )
    assert [trace["name"] for trace in figure["data"] if "name" in trace] == [
        "band model: 0.250 eV",
        "MACE-NEB: 0.300 eV",
        "DFT-NEB (demo): 0.280 eV",
    ]
    # A hop leads to its material, with its profiles chosen.
    assert "Energy profiles of hop hop0A" in text(client, "/material", id="hop0A")


def test_failed_calculations_are_shown_with_their_error(client):
    page = text(client, "/material", id="C:Li")
    assert "failed: NotConverged" in page
    assert "300 steps" in page
    jobs = text(client, "/jobs", stage="mlip")
    assert "300 steps" in jobs
    assert "/calc/jobs/2" in jobs
    assert "F.cif: no atoms" in text(client, "/jobs", stage="candidates")
    funnel = text(client, "/funnel")
    assert "toxic" in funnel
    assert "D: holds Hg" in funnel
    assert "NotConverged" in funnel


def test_materials_without_hops_structure_or_rank_have_a_page(client):
    assert "no hop of Li is known" in text(client, "/material", id="E:Li")
    assert "F.cif: no atoms" in text(client, "/material", id="F:Li")
    assert "holds Hg" in text(client, "/material", id="D:Li")
    assert "no material or hop" in text(client, "/material", 404, id="nothing")
    assert text(client, "/structure.cif", 404, id="F:Li")


def test_parity_pairs_levels(client):
    page = text(client, "/parity", levels="band-mlip")
    figure = json.loads(
        re.search(r'id="parity-data">(.*?)</script>', page, re.DOTALL)[1]  # type: ignore[index]
    )
    points = figure["data"][1]
    assert sorted(zip(points["x"], points["y"], strict=True)) == [(0.25, 0.30), (0.9, 0.95)]
    assert "0.050" in page
    # What is not asked sensibly shows the pair with the most hops.
    assert text(client, "/parity", levels="x-y") == page


def test_hostile_text_stays_text(client):
    ident = f"{sample_screen.HOSTILE_ID}:Li"
    pages = [*PAGES, "/jobs?stage=dft", "/jobs?stage=mlip"]
    answers = [client.get(page) for page in pages]
    answers += [client.get("/material", query_string={"id": ident})]
    answers += [client.get("/", query_string={"q": sample_screen.SCRIPT})]
    answers += [client.get("/material", query_string={"id": sample_screen.IMAGE})]
    for answer in answers:
        assert "<script>window" not in answer.text
        assert "<img src=x" not in answer.text
        assert '<a href="javascript' not in answer.text
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
    shown = client.get("/material", query_string={"id": ident}).text
    assert "&lt;/script&gt;&lt;script&gt;window.hacked=1" in shown
    assert "{{ 7 * 7 }}" in shown
    rows = list(csv.reader(io.StringIO(text(client, "/ranking.csv"))))
    assert any(sample_screen.SCRIPT in row for row in rows)


def test_an_empty_store_has_all_pages(uri):
    open_store(uri).close()
    with open_store(uri, create=False) as opened:
        client = create_app(opened).test_client()
        assert "No material is ranked yet" in text(client, "/")
        assert "No candidate yet" in text(client, "/funnel")
        assert "No hop has both estimates yet" in text(client, "/parity")
        assert "Nothing has failed" in text(client, "/jobs")
        assert len(text(client, "/ranking.csv").splitlines()) == 1


def test_nothing_is_written_and_only_reading_is_answered(client, store):
    def documents():
        parts = (store.candidates, store.hops, store.barriers, store.ranked, store.runs)
        return [list(part.query({})) for part in parts]

    before = documents()
    for path in (*PAGES, "/material?id=A:Li", "/ranking.csv"):
        assert client.get(path).status_code == 200
        assert client.post(path).status_code == 405
        assert client.delete(path).status_code == 405
    assert documents() == before


def test_another_host_name_is_refused_on_loopback(client, store):
    assert client.get("/", headers={"Host": "evil.example:80"}).status_code == 403
    for name in ("localhost:8050", "127.0.0.1:8050", "[::1]:8050"):
        assert client.get("/", headers={"Host": name}).status_code == 200
    open_to_all = create_app(store, host="0.0.0.0").test_client()
    assert open_to_all.get("/", headers={"Host": "node17:8050"}).status_code == 200


def test_assets_come_from_here(client):
    for path in (*PAGES, "/material?id=A:Li"):
        page = client.get(path).text
        found = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="([^"]+)"', page)
        assert found
        for link in found:
            assert link.startswith("/")
            assert client.get(link.replace("&amp;", "&")).status_code == 200
    plotly = client.get("/plotly.js")
    assert plotly.content_length > 1_000_000


def test_downloads_of_a_material(client, store, tmp_path, capfd):
    cif = text(client, "/structure.cif", id="A:Li")
    assert Structure.from_str(cif, fmt="cif").composition.formula == "Li1 O1"
    path = tmp_path / "images.extxyz"
    path.write_text(text(client, "/images.extxyz", id="mliphop0A"))
    images = ase.io.read(path, index=":")
    assert [image.get_potential_energy() for image in images] == [-5.0, -4.9, -4.8]
    assert images[2].positions[0, 0] == 0.5
    text(client, "/images.extxyz", 404, id="bandhop0A")
    assert run_command(["show", "A:Li", "--store", store.uri, "--format", "json"]) == 0
    assert json.loads(text(client, "/material.json", id="A:Li")) == json.loads(
        capfd.readouterr()[0]
    )


def test_a_host_of_thousands_of_atoms_has_a_page(uri):
    with open_store(uri) as writer:
        sample_screen.write_large_host(writer)
    with open_store(uri, create=False) as opened:
        client = create_app(opened).test_client()
        page = text(client, "/material", id="large:Li")
        scene = json.loads(
            re.search(r'id="scene-data">(.*?)</script>', page, re.DOTALL)[1]  # type: ignore[index]
        )
        assert scene["atoms_shown"] >= 2662
        assert scene["repeats"] == [1, 1, 1]
        assert "1\u202f331 distinct, the first 200 shown" in page
        assert len(page) < 3_000_000


def test_a_mistake_in_a_filter_keeps_what_was_typed(client):
    page = text(client, "/", 400, max_barrier="low", q="Li2")
    assert 'value="low"' in page
    assert 'value="Li2"' in page
    assert 'role="alert"' in page


def test_submitted_flows_are_shown_as_their_managers_see_them(uri, mongo_server, tmp_path):
    launchpad = LaunchPad(host=mongo_server, name=f"pad_{next(_names)}", uri_mode=True)
    launchpad.reset("", require_password=False, max_reset_wo_password=100)
    launchpad.to_file(str(tmp_path / "pad.yaml"))
    work = Firework([PyTask(func="builtins.print")], name="mace_neb of <b>")
    launchpad.add_wf(Workflow([work], metadata={"flow_uuid": "u1"}))
    about = {"screen_id": "s-1", "spec_file": "/li.yaml"}
    with open_store(uri) as writer:
        for run, fields in {
            "r1": {
                "manager": "fireworks",
                "name": "<i>first",
                "flow_uuid": "u1",
                "launchpad_file": str(tmp_path / "pad.yaml"),
            },
            "r2": {
                "manager": "jobflow-remote",
                "name": "second",
                "flow_uuid": "u2",
                "project": "elsewhere",
            },
        }.items():
            claim_submission(writer, run, {**about, **fields}, progress_of, again=True)
    with open_store(uri, create=False) as opened:
        page = text(create_app(opened).test_client(), "/jobs")
    assert "1 queued" in page
    assert "&lt;i&gt;first" in page
    assert "jobflow-remote project &#39;elsewhere&#39; is not set up on this machine" in page


def test_a_store_that_is_gone_is_said(tmp_path):
    server = SecantusDBServer(storage_path=str(tmp_path / "server"))
    server.start()
    uri = f"{server.uri.rstrip('/')}/gone?serverSelectionTimeoutMS=500"
    open_store(uri).close()
    with open_store(uri, create=False) as opened:
        client = create_app(opened).test_client()
        assert "No material is ranked yet" in text(client, "/")
        server.stop()
        assert "The store gives no answer" in text(client, "/funnel", 503)
