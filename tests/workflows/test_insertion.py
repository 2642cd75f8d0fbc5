"""Hosts that hold no working ion get its sites from a twin or from the user."""

import json

import pytest
import yaml
from charged_hosts import GROWN, charged, full
from pymatgen.core import Structure

from launch.cli import run_command
from stores.documents import BarrierDoc, CandidateDoc, HopDoc
from stores.errors import BadInput
from stores.screen_store import open_store
from workflows.filters import Refused
from workflows.hops import distinct_hops
from workflows.hosts import prepare_host
from workflows.insertion import Twins, fill_given
from workflows.spec import load_spec
from workflows.stages.candidates import filter_settings, find_candidates
from workflows.stages.hops import enumerate_hops
from workflows.stages.score import score

PAIRS = (
    "LiCoO2", "LiFePO4", "LiMn2O4", "LiTiS2", "NaCoO2-O3", "NaTi2P3O12", "CaV2O5", "MgCr2O4",
    "ZnMn2O4",
)  # fmt: skip


def twins(ion, *structures):
    made = Twins(ion)
    for number, structure in enumerate(structures):
        made.remember(f"twin-{number}", structure)
    return made


@pytest.mark.parametrize("name", PAIRS)
def test_a_twin_gives_back_every_site_and_every_hop(name):
    ion, empty = charged(name)
    original = prepare_host(full(name), ion)
    filled = twins(ion, original).fill(empty)
    assert filled.origin["twin"] == "twin-0"
    assert filled.origin["rms_ang"] < 0.01
    host = prepare_host(filled.structure, ion)
    assert host.composition == original.composition
    found, wanted = distinct_hops(host, ion).hops, distinct_hops(original, ion).hops
    assert [h.multiplicity for h in found] == [h.multiplicity for h in wanted]
    lengths = [h.length_ang * GROWN for h in wanted]
    assert [h.length_ang for h in found] == pytest.approx(lengths, abs=0.01)


def test_sites_of_a_displaced_twin_obey_the_hosts_symmetry():
    ion, empty = charged("LiCoO2")
    twin = full("LiCoO2")
    twin.perturb(0.05, seed=3)
    filled = twins(ion, twin).fill(empty)
    assert filled.origin["rms_ang"] > 0.01
    host = prepare_host(filled.structure, ion)
    wanted = distinct_hops(prepare_host(full("LiCoO2"), ion), ion).hops
    assert [h.multiplicity for h in distinct_hops(host, ion).hops] == [
        h.multiplicity for h in wanted
    ]


def test_the_nearest_of_several_twins_gives_its_sites():
    ion, empty = charged("LiCoO2")
    rough = full("LiCoO2")
    rough.perturb(0.1, seed=1)
    assert twins(ion, rough, full("LiCoO2")).fill(empty).origin["twin"] == "twin-1"


def test_another_framework_is_no_twin():
    ion, empty = charged("LiMn2O4")  # MnO2, as a spinel
    with pytest.raises(Refused, match=r"no host with Li has its framework.*insertion\.sites"):
        twins(ion, full("Li2MnO3"), full("LiMnO2-layered"), full("LiCoO2")).fill(empty)


def test_a_given_site_is_completed_by_symmetry():
    empty = full("LiFePO4")
    empty.remove_species(["Li"])
    filled = fill_given(empty, "Li", [(0.01, 0.0, 0.005)])
    assert filled.structure.composition == full("LiFePO4").composition
    ours, theirs = (prepare_host(s, "Li") for s in (filled.structure, full("LiFePO4")))
    assert [h.length_ang for h in distinct_hops(ours, "Li").hops] == pytest.approx(
        [h.length_ang for h in distinct_hops(theirs, "Li").hops], abs=1e-3
    )
    with pytest.raises(Refused, match=r"Å from an atom"):
        fill_given(empty, "Li", [tuple(empty[0].frac_coords + 0.01)])


@pytest.fixture
def folder(tmp_path):
    """A charged host, its discharged twin that is read after it, and one with no twin."""
    _, empty = charged("LiCoO2")
    empty.to(filename=str(tmp_path / "a-charged.vasp"), fmt="poscar")
    full("LiCoO2").to(filename=str(tmp_path / "b-discharged.vasp"), fmt="poscar")
    _, alone = charged("LiFePO4")
    alone.to(filename=str(tmp_path / "c-alone.vasp"), fmt="poscar")
    return tmp_path


def spec_of(folder, **more):
    paths = {"source": "files", "paths": ["*.vasp"]}
    content = {"name": "charged", "working_ion": "Li", "candidates": paths, **more}
    path = folder / "screen.yaml"
    path.write_text(yaml.safe_dump(content))
    return path, load_spec(path)


def found_in(screen, uri):
    return find_candidates.original(screen.model_dump(mode="json"), uri)


def test_a_charged_host_goes_through_the_cheap_stages_in_dilute_mode(folder, capfd):
    path, screen = spec_of(folder, insertion={"twins": True})
    uri = str(folder / "a.store")
    found = found_in(screen, uri)
    assert (found["ok"], found["refused"]) == (2, {"insertion": 1})
    spec = screen.model_dump(mode="json")
    ((first, last),) = found["batches"]
    enumerate_hops.original(spec, uri, first, last)
    told = score.original(spec, uri, first, last)
    with open_store(uri) as store:
        hosts = {doc.reference: doc for doc in store.find(CandidateDoc)}
        twin, inserted = hosts["b-discharged.vasp"], hosts["a-charged.vasp"]
        assert twin.inserted is None
        assert inserted.inserted["twin"] == twin.material_id
        assert Structure.from_dict(inserted.structure).composition.reduced_formula == "LiCoO2"
        for host, mode in ((twin, "vacancy"), (inserted, "dilute")):
            hops = list(store.find(HopDoc, {"candidate_id": host.candidate_id}))
            scores = list(store.find(BarrierDoc, {"candidate_id": host.candidate_id}))
            assert hops
            assert {hop.mode for hop in hops} == {mode}
            assert {doc.settings["mode"] for doc in scores} == {mode}
            assert len(scores) == len(hops)
        by_mode = {doc.settings["mode"]: doc.num_atoms for doc in store.find(BarrierDoc)}
        assert by_mode["dilute"] < by_mode["vacancy"]
        assert told["done"] == store.count(HopDoc)
    assert score.original(spec, uri, first, last) == {"done": 0, "failed": 0}
    # A twin that comes later is found by the same command.
    full("LiFePO4").to(filename=str(folder / "d-late.vasp"), fmt="poscar")
    assert found_in(screen, uri)["ok"] == 4
    capfd.readouterr()
    assert run_command(["check", str(path), "--format", "json"]) == 0
    assert json.loads(capfd.readouterr().out)["candidates"] == 4


def test_sites_in_the_screening_file(folder):
    sites = {"c-alone.vasp": [[0.13, 0.29, 0.41]]}  # the origin, shifted as the host is
    _, screen = spec_of(folder, insertion={"twins": False, "sites": sites})
    uri = str(folder / "a.store")
    assert found_in(screen, uri)["refused"] == {"insertion": 1}
    with open_store(uri) as store:
        doc = store.get(CandidateDoc, reference="c-alone.vasp")
    assert doc.inserted["method"] == "given"
    assert Structure.from_dict(doc.structure).composition.reduced_formula == "LiFePO4"


def test_without_the_section_nothing_changes(folder):
    _, screen = spec_of(folder)
    assert screen.insertion is None
    assert found_in(screen, str(folder / "a.store"))["refused"] == {"working_ion_content": 2}
    _, asked = spec_of(folder, insertion={"twins": True})
    assert asked.screen_id != screen.screen_id
    assert filter_settings(asked) != filter_settings(screen)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"twins": False}, "insertion: gives no sites"),
        ({"sites": {"a": [[0, 0]]}}, "insertion.sites.a"),
        ({"sites": {"a": []}}, "sites of a: give at least one"),
        ({"twin": True}, "did you mean 'twins'"),
    ],
)
def test_a_wrong_section_is_one_line(folder, section, said):
    with pytest.raises(BadInput) as refused:
        spec_of(folder, insertion=section)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
