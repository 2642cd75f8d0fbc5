"""The catalogue and files as sources."""

import json

import pytest
from pydantic import TypeAdapter, ValidationError
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from stores.errors import BadInput
from workflows.sources import CandidateOptions, load_catalogue


def options(source, folder=None, **given):
    return TypeAdapter(CandidateOptions).validate_python(
        {"source": source, **given}, context={"folder": folder}
    )


def test_the_catalogue_gives_hosts_of_the_ion_alone():
    records = list(options("catalogue").records("Mg"))
    assert len(records) >= 5
    assert all("Mg" in record.structure.composition for record in records)
    assert [r.material_id for r in records] == [r.material_id for r in load_catalogue({"Mg"})]


def test_a_part_of_the_catalogue():
    assert [r.material_id for r in options("catalogue", ids=["LiF", "NaF"]).records("Na")] == [
        "NaF"
    ]
    olivines = options("catalogue", families=["olivine"]).records("Li")
    assert {r.metadata["family"] for r in olivines} == {"olivine"}


def test_an_entry_that_is_not_there():
    with pytest.raises(BadInput, match=r"candidates\.ids: the catalogue has no LiXyz"):
        list(options("catalogue", ids=["LiXyz"]).records("Li"))


def test_known_entries_are_named_only():
    records = list(options("catalogue", ids=["LiF", "LiCl"]).records("Li", known={"LiF"}))
    assert [(r.material_id, r.known, r.structure is None) for r in records] == [
        ("LiF", True, True),
        ("LiCl", False, False),
    ]


@pytest.fixture
def folder(tmp_path):
    """A folder of one crystal in four formats, and a bad file."""
    host = load_catalogue({"Li"})[0].structure
    (tmp_path / "deep").mkdir()
    host.to(str(tmp_path / "a.cif"))
    host.to(str(tmp_path / "deep" / "POSCAR"), fmt="poscar")
    (tmp_path / "b.json").write_text(json.dumps(host.as_dict()))
    AseAtomsAdaptor.get_atoms(host).write(tmp_path / "c.xyz", format="extxyz")
    (tmp_path / "bad.cif").write_text("data_nothing\n_cell_length_a oops\n")
    return tmp_path


def test_every_format_is_read(folder):
    asked = options("files", folder, paths=["*.cif", "**/POSCAR", "b.json", "c.xyz"])
    records = {record.reference: record for record in asked.records("Li")}
    good = [record for record in records.values() if record.error is None]
    assert sorted(record.reference for record in good) == ["POSCAR", "a.cif", "b.json", "c.xyz"]
    reference = load_catalogue({"Li"})[0].structure
    assert all(record.structure.matches(reference) for record in good)


def test_a_bad_file_is_a_record_with_its_error(folder):
    bad, good = sorted(
        options("files", folder, paths="*.cif").records("Li"), key=lambda r: r.error is None
    )
    assert good.structure is not None
    assert bad.structure is None
    assert "bad.cif" in bad.error.message
    assert "\n" not in bad.error.message


def test_ids_follow_the_content(folder):
    def ids():
        return [r.material_id for r in options("files", folder, paths="a.cif").records("Li")]

    first = ids()
    assert ids() == first
    assert first[0].startswith("a-")
    (folder / "a.cif").write_text((folder / "a.cif").read_text() + "\n# edited\n")
    assert ids() != first


def test_known_files_are_not_read_again(folder):
    asked = options("files", folder, paths="a.cif")
    (first,) = asked.records("Li")
    (again,) = asked.records("Li", known={first.material_id})
    assert again.known
    assert again.structure is None


def test_no_file_matches(folder):
    with pytest.raises(BadInput, match=r"candidates\.paths: .*nothing-\*\.cif: no such file"):
        list(options("files", folder, paths=["a.cif", "nothing-*.cif"]).records("Li"))


def test_a_file_that_two_globs_match_comes_once(folder):
    asked = options("files", folder, paths=["a.cif", "*.cif", str(folder / "a.cif")])
    assert len(list(asked.records("Li"))) == 2


@pytest.mark.parametrize(
    "given",
    [
        {"source": "nowhere"},
        {"source": "files"},
        {"source": "files", "paths": []},
        {"source": "catalogue", "id": ["LiF"]},
    ],
)
def test_options_that_make_no_sense(given):
    with pytest.raises(ValidationError):
        TypeAdapter(CandidateOptions).validate_python(given)


def test_catalogue_structures_are_the_callers_own():
    first, second = (load_catalogue({"Li"})[0].structure for _ in range(2))
    first.remove_sites([0])
    assert isinstance(second, Structure)
    assert len(second) == len(first) + 1
