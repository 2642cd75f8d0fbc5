"""Whatever is wrong with the input: one line on stderr, exit code 2, nothing written."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from launch.cli import run_command

SPEC: dict[str, Any] = {
    "name": "bad_input",
    "working_ion": "Li",
    "candidates": {"source": "catalogue"},
}


@pytest.fixture
def refused(tmp_path, capfd, monkeypatch):
    """Run a command that must be refused; return its one line."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> str:
        before = _tree(tmp_path)
        code = run_command(words)
        out, err = capfd.readouterr()
        assert code == 2, err
        assert out == ""
        assert err.count("\n") == 1, err
        assert err.startswith("hopscreen: ")
        assert _tree(tmp_path) == before, "something was written"
        return err

    return run


def _tree(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def _write(change: dict[str, Any], name: str = "screen.yaml") -> str:
    Path(name).write_text(yaml.safe_dump(SPEC | change))
    return name


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rnu"], "Did you mean 'run'"),
        (["run"], "SPEC"),
        (["run", "a.yaml", "b.yaml"], "b.yaml"),
        (["run", "--top", "3", "a.yaml"], "--top"),
        (["rank"], "--store"),
        (["rank", "--store", "x", "--top", "many"], "--top"),
        (["rank", "--store", "x", "--format", "xml"], "xml"),
        (["hops", "x.cif"], "--ion"),
        (["hops", "x.cif", "--ion", "Li", "--dimension", "4"], "equal to 3"),
        (["retry", "--store", "x", "--stage", "neb"], "mace_neb"),
    ],
)
def test_usage(refused, words, said):
    line = refused(*words)
    assert said in line
    assert "--help" in line


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        ("", "no settings"),
        ("# nothing but a remark\n", "no settings"),
        ("name: [open\n", "line "),
        ("just words\n", "no settings"),
        (b"\xff\xfe\x00name", "not text"),
        ("name: a\nname: b\n", "given twice"),
    ],
)
@pytest.mark.parametrize("command", ["run", "check"])
def test_not_a_screening_file(refused, command, content, said):
    if content is not None:
        Path("screen.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    line = refused(command, "screen.yaml")
    assert "screen.yaml" in line
    assert said in line


def test_a_folder_is_not_a_screening_file(refused):
    Path("screen.yaml").mkdir()
    assert "screen.yaml" in refused("run", "screen.yaml")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hopps": {}}, "did you mean 'hops'"),
        ({"hops": {"max_lenght": 6}}, "hops.max_lenght: unknown key; did you mean 'max_length'"),
        ({"mace_neb": {"tops": 3}}, "did you mean 'top'"),
        ({"hops": {"max_length": "long"}}, "hops.max_length"),
        ({"hops": {"max_length": "0.65 nm"}}, "a number in Å"),
        ({"hops": {"max_length": 65}}, "less than or equal to 12"),
        ({"hops": {"dimension": 4}}, "hops.dimension"),
        ({"rank": {"temperature": -5}}, "rank.temperature"),
        ({"mace_neb": {"top": -1}}, "mace_neb.top"),
        ({"working_ion": "Lithium"}, "working_ion"),
        ({"working_ion": "Xx"}, "use Li, Na"),
        ({"candidates": {"source": "catalog"}}, "catalogue"),
        ({"candidates": {}}, "candidates"),
        ({"name": "a/b"}, "name"),
    ],
)
def test_wrong_settings(refused, change, said):
    line = refused("run", _write(change))
    assert "screen.yaml" in line
    assert said in line


def test_missing_key(refused):
    Path("screen.yaml").write_text("name: a\nworking_ion: Li\n")
    assert "candidates" in refused("run", "screen.yaml")


def test_no_such_structure_file(refused):
    line = refused("run", _write({"candidates": {"source": "files", "paths": ["none/*.cif"]}}))
    assert "none/*.cif" in line


@pytest.mark.parametrize("command", ["hops", "predict"])
def test_structure_file(refused, command):
    assert "none.cif" in refused(command, "none.cif", "--ion", "Li")
    Path("broken.cif").write_text("data_broken\n_cell_length_a nonsense\n")
    assert "broken.cif" in refused(command, "broken.cif", "--ion", "Li")
    _salt("NaCl.cif")
    assert "NaCl.cif" in refused(command, "NaCl.cif", "--ion", "Li")
    assert "Xx" in refused(command, "NaCl.cif", "--ion", "Xx")


def test_cif_that_does_not_parse(refused):
    Path("broken.cif").write_text("data_broken\n_cell_length_a nonsense\n")
    line = refused("run", _write({"candidates": {"source": "files", "paths": ["broken.cif"]}}))
    assert "none of 1 is left" in line
    assert "broken.cif: not a readable structure" in line


def test_no_candidate_left(refused):
    _salt("NaCl.cif")
    spec = _write({"candidates": {"source": "files", "paths": ["NaCl.cif"]}})
    assert "has no Li" in refused("run", spec)
    assert "has no Li" in refused("check", spec)


@pytest.mark.parametrize("command", ["rank", "status", "retry"])
def test_store_that_is_none(refused, command):
    assert "none.store" in refused(command, "--store", "none.store")
    Path("other").mkdir()
    Path("other/file").write_text("not a store")
    assert "other" in refused(command, "--store", "other")


def test_store_folder_that_cannot_be_made(refused):
    # A file in the way stops the superuser too, whom permissions do not.
    Path("file").write_text("in the way")
    assert "file/store" in refused("run", _write({}), "--store", "file/store")


def test_folder_of_something_else_is_not_taken_for_a_store(refused):
    Path("home").mkdir()
    Path("home/thesis.tex").write_text("dear")
    assert "home" in refused("run", _write({}), "--store", "home")


@pytest.mark.parametrize("command", [["run", "screen.yaml"], ["rank"], ["show", "x"], ["status"]])
def test_store_of_a_newer_schema(refused, command):
    from stores.backends import MARKER
    from stores.screen_store import open_store

    _write({})
    with open_store("newer"):
        pass
    marker = Path("newer", MARKER)
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"schema_version": 99}))
    line = refused(*command, "--store", "newer")
    assert "99" in line
    assert "upgrade" in line


def test_server_without_a_database_name(refused):
    assert "database" in refused("rank", "--store", "mongodb://127.0.0.1:1")


def test_server_that_does_not_answer_and_its_password(refused):
    line = refused("rank", "--store", "mongodb://me:secret@127.0.0.1:1/li")
    assert "127.0.0.1:1" in line
    assert "secret" not in line


def test_unknown_id_and_filter(refused):
    from stores.screen_store import open_store

    with open_store("store"):
        pass
    assert "mp-1" in refused("show", "mp-1", "--store", "store")
    assert "--where" in refused("rank", "--store", "store", "--where", "{barrier")
    assert "$where" in refused("rank", "--store", "store", "--where", '{"$where": "1"}')
    assert "--top" in refused("rank", "--store", "store", "--top", "0")


def test_corrupt_weights(refused):
    Path("weights").mkdir()
    for name in ("model.safetensors", "card.json"):
        Path("weights", name).write_bytes(b"\x00\x01nonsense")
    assert "weights" in refused("run", _write({"score": {"model": "weights"}}))
    assert "no_such_model" in refused("run", _write({"score": {"model": "no_such_model"}}))


def test_mace_path_that_does_not_exist_is_no_download(refused, monkeypatch):
    def no_network(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a download was tried")

    monkeypatch.setattr("socket.socket.connect", no_network)
    line = refused("run", _write({"mace_neb": {"model": "./mace.model", "top": 1}}))
    assert "mace.model" in line


def test_gpaw_absent(refused, monkeypatch):
    # None in sys.modules is how Python itself marks a module that cannot be imported.
    monkeypatch.setitem(sys.modules, "gpaw", None)
    line = refused("run", _write({"dft_neb": {"engine": "gpaw", "preset": "demo", "top": 1}}))
    assert "gpaw" in line
    assert "install" in line


def test_debug_shows_where(tmp_path, capfd):
    assert run_command(["run", str(tmp_path / "none.yaml"), "--debug"]) == 2
    assert "Traceback" in capfd.readouterr().err


def _salt(name: str) -> None:
    from pymatgen.core import Lattice, Structure

    lattice = Lattice.cubic(5.64)
    sites = [[0, 0, 0], [0.5, 0.5, 0.5]]
    Structure.from_spacegroup("Fm-3m", lattice, ["Na", "Cl"], sites).to(filename=name)
