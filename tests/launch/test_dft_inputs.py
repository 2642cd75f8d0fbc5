"""``dft-inputs``: from a store to input files, started from the potential's path."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp.inputs import Incar

from launch.cli import run_command
from stores.documents import BarrierDoc, CandidateDoc, Provenance
from stores.screen_store import open_store
from workflows.bands import SupercellRecipe, build_endpoints
from workflows.dft_inputs import hop_path
from workflows.hops import distinct_hops, to_doc
from workflows.hosts import prepare_host
from workflows.neb import as_atoms
from workflows.neb_path import interpolate
from workflows.stages.neb import _frame

ORIGIN = Provenance(versions={"hopscreen": "0"})
RECIPE = SupercellRecipe(min_length_ang=5.0, min_height_ang=5.0, min_atoms=20)
SMALLER = SupercellRecipe(min_length_ang=4.5, min_height_ang=4.0, min_atoms=8)
BULGE_ANG = 0.3


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> tuple[str, str]:
    """Uri and hop of a store with Li2O and the bulging path that a potential found for it."""
    cell = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.619), ["Li", "O"], [[0.25, 0.25, 0.25], [0, 0, 0]]
    )
    host = prepare_host(cell, "Li")
    hop = distinct_hops(host, "Li").hops[0]
    candidate = CandidateDoc(
        candidate_id="Li2O:Li",
        material_id="Li2O",
        source="test",
        formula="Li2O",
        working_ion="Li",
        structure=host.as_dict(),
        structure_hash="li2o",
        provenance=ORIGIN,
    )
    doc = to_doc(hop, candidate, "vacancy", ORIGIN)
    first, last = (as_atoms(end) for end in build_endpoints(host, hop, RECIPE))
    path = interpolate(first, last, 3)
    aside = np.cross(last.positions[0] - first.positions[0], [0.3, 0.5, 0.8])
    path[2].positions[0] += BULGE_ANG * aside / np.linalg.norm(aside)
    estimate = BarrierDoc(
        barrier_id="mlip",
        hop_id=doc.hop_id,
        candidate_id="Li2O:Li",
        material_id="Li2O",
        working_ion="Li",
        level="mlip",
        status="done",
        barrier_ev=0.3,
        interval_90_ev=(0.2, 0.4),
        converged=True,
        blob_id="path",
        settings={"supercell": RECIPE.as_dict()},
        provenance=ORIGIN,
    )
    uri = str(tmp_path_factory.mktemp("inputs") / "screen.store")
    with open_store(uri) as store:
        store.put([candidate, doc, estimate])
        store.save_blob("path", {"images": [_frame(image) for image in path]})
    return uri, doc.hop_id


def _off_the_line(images: list[Structure]) -> float:
    """Distance of the middle image's ion from the middle of its ends, Å."""
    first, middle, last = images[0][0], images[len(images) // 2][0], images[-1][0]
    return float(np.linalg.norm(middle.coords - (first.coords + last.coords) / 2))


def test_inputs_start_from_the_path_of_the_potential(stored, tmp_path, capfd):
    uri, hop_id = stored
    out = tmp_path / "inputs"
    assert run_command(["dft-inputs", hop_id, "--store", uri, "--out", str(out)]) == 0
    printed, said = capfd.readouterr()
    assert "path from mlip, charge -1 e" in said
    assert sorted(printed.split()) == sorted(str(p) for p in out.rglob("*") if p.is_file())
    images = [Structure.from_file(out / f"neb/{n:02d}/POSCAR") for n in range(7)]
    assert _off_the_line(images) == pytest.approx(BULGE_ANG, abs=0.02)
    assert "NELECT" in Incar.from_file(out / "neb/INCAR")


def test_neutral_stock_and_straight(stored, tmp_path):
    uri, hop_id = stored
    words = ["--flavour", "stock", "--start", "linear", "--images", "3", "--neutral"]
    out = tmp_path / "inputs"
    assert run_command(["dft-inputs", hop_id, "--store", uri, "--out", str(out), *words]) == 0
    incar = Incar.from_file(out / "neb/INCAR")
    assert incar["IMAGES"] == 3
    assert not {"NELECT", "LCLIMB"} & set(incar)
    assert (
        _off_the_line([Structure.from_file(out / f"neb/{n:02d}/POSCAR") for n in range(5)]) < 1e-6
    )


def test_another_cell_falls_back_on_idpp_and_says_so(stored):
    uri, hop_id = stored
    with open_store(uri) as store:
        assert hop_path(store, hop_id, images=2).start == "mlip"
        path = hop_path(store, hop_id, images=2, recipe=SMALLER)
    assert path.start == "idpp"
    assert len(path.images) == 4


def test_resampled_path_is_even_and_keeps_its_ends(stored):
    uri, hop_id = stored
    with open_store(uri) as store:
        whole = hop_path(store, hop_id, images=3).images
        finer = hop_path(store, hop_id, images=8).images
    for end in (0, -1):
        assert finer[end].cart_coords == pytest.approx(whole[end].cart_coords, abs=1e-6)
    coords = np.array([image.cart_coords for image in finer])
    lengths = np.linalg.norm(np.diff(coords, axis=0), axis=(1, 2))
    assert lengths.max() < 1.2 * lengths.min()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nosuchhop"], "hop 'nosuchhop': not in the store"),
        (["HOP", "--preset", "mpp"], "'mpp' is no preset"),
        (["HOP", "--images", "4", "--ranks", "10"], "10 MPI ranks are not divisible by 4"),
        (["HOP", "--flavour", "vtts"], "vtts"),
    ],
)
def test_bad_input_is_one_line(words, said, stored, tmp_path, capfd):
    uri, hop_id = stored
    words = [hop_id if word == "HOP" else word for word in words]
    out = tmp_path / "inputs"
    assert run_command(["dft-inputs", *words, "--store", uri, "--out", str(out)]) == 2
    printed, line = capfd.readouterr()
    assert said in line
    assert line.count("\n") == 1
    assert not printed
    assert not Path(out).exists()
