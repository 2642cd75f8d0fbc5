import pytest

from stores.documents import CandidateDoc
from stores.errors import BadInput
from stores.screen_store import open_store
from workflows.sources.catalogue import load_catalogue
from workflows.spec import ScreenSpec
from workflows.stages.candidates import find_candidates


def screen(**more):
    candidates = {"source": "catalogue", "ids": ["LiCoO2", "LiNbO3", "Li2S"]}
    return {"name": "few", "working_ion": "Li", "candidates": candidates, **more}


def find(spec, uri):
    return find_candidates.original(ScreenSpec.model_validate(spec).model_dump(mode="json"), uri)


@pytest.fixture
def uri(tmp_path):
    return str(tmp_path / "a.store")


def test_hosts_are_kept_with_their_verdicts_and_batches(uri):
    found = find(screen(filters={"mode": "electrolyte"}), uri)
    assert found == {
        "found": 3,
        "ok": 2,
        "refused": {"redox_mode": 1},
        "batches": [["Li2S:Li", "LiNbO3:Li"]],
    }
    with open_store(uri) as store:
        refused = store.get(CandidateDoc, material_id="LiCoO2")
        assert refused.status == "rejected"
        assert "Co can be oxidised" in refused.error.message
        kept = store.get(CandidateDoc, material_id="Li2S")
        assert kept.num_sites == 3
        assert kept.provenance.versions["hopscreen"]


def test_again_nothing_is_read_anew_and_nothing_changes(uri):
    first = find(screen(), uri)
    with open_store(uri) as store:
        before = list(store.find(CandidateDoc))
    assert find(screen(), uri) == first
    with open_store(uri) as store:
        assert list(store.find(CandidateDoc)) == before


def test_other_filters_judge_the_same_hosts_anew(uri):
    assert find(screen(), uri)["ok"] == 3
    assert find(screen(filters={"mode": "electrode"}), uri)["refused"] == {"redox_mode": 2}
    assert find(screen(), uri)["ok"] == 3


def test_the_same_crystal_from_two_files_is_screened_once(uri, tmp_path):
    (record,) = (r for r in load_catalogue({"Li"}) if r.material_id == "LiCoO2")
    record.structure.to(filename=str(tmp_path / "a.cif"))
    (record.structure * (2, 1, 1)).to(filename=str(tmp_path / "b.cif"))
    spec = screen(candidates={"source": "files", "paths": [str(tmp_path / "*.cif")]})
    assert find(spec, uri)["refused"] == {"duplicates": 1}
    both = find({**spec, "filters": {"keep_duplicates": True}}, uri)
    assert both["ok"] == 2


def test_a_screen_with_no_candidate_left_says_which_filter_took_them(uri):
    with pytest.raises(BadInput, match=r"none of 3 is left.*3 by working_ion_content"):
        find(screen(filters={"min_ion_fraction": 0.9}), uri)
