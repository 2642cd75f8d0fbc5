"""VASP's input files, checked one by one; no licence, no VASP."""

from __future__ import annotations

from itertools import pairwise

import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp.inputs import Incar, Kpoints, Poscar

from stores.errors import BadInput
from workflows.bands import build_endpoints
from workflows.engines.vasp import PRESETS, VaspPreset, electrons, write_neb_inputs
from workflows.hops import distinct_hops
from workflows.hosts import prepare_host
from workflows.neb import as_atoms
from workflows.neb_path import interpolate


def path_of(host: Structure, images: int = 3) -> list[Structure]:
    host = prepare_host(host, "Li")
    ends = build_endpoints(host, distinct_hops(host, "Li").hops[0])
    atoms = interpolate(*(as_atoms(end) for end in ends), images)
    return [
        Structure(ends[0].lattice, ends[0].species, a.get_scaled_positions(wrap=False))
        for a in atoms
    ]


@pytest.fixture(scope="module")
def oxide() -> list[Structure]:
    """Li vacancy in LiCoO2: the moving lithium comes first, the others after the host."""
    return path_of(
        Structure.from_spacegroup(
            "R-3m",
            Lattice.hexagonal(2.8161, 14.0536),
            ["Li", "Co", "O"],
            [[0, 0, 0.5], [0, 0, 0], [0, 0, 0.26049]],
        )
    )


@pytest.fixture(scope="module")
def written(oxide, tmp_path_factory):
    folder = tmp_path_factory.mktemp("vasp") / "hop"
    files = write_neb_inputs(oxide, folder, charge_e=-1, ranks=12)
    return folder, {str(file.relative_to(folder)) for file in files}


def test_every_file_is_there_and_no_other(written):
    ends = {
        f"{end}/{name}"
        for end in ("initial", "final")
        for name in ("INCAR", "KPOINTS", "POSCAR", "POTCAR.spec")
    }
    band = {f"neb/{name}" for name in ("INCAR", "KPOINTS", "POTCAR.spec")}
    images = {f"neb/{n:02d}/{name}" for n in range(5) for name in ("POSCAR", "KPOINTS")}
    assert written[1] == ends | band | images


def test_every_poscar_has_the_order_of_the_potcar(written, oxide):
    folder, _ = written
    symbols = [line.split("_")[0] for line in (folder / "neb/POTCAR.spec").read_text().split()]
    poscars = [Poscar.from_file(p) for p in sorted(folder.rglob("POSCAR"))]
    assert len(poscars) == 7
    for poscar in poscars:
        assert poscar.site_symbols == symbols
        assert sum(poscar.natoms) == len(oxide[0])


def test_only_the_hop_happens_between_images(written, oxide):
    folder, _ = written
    images = [Poscar.from_file(folder / f"neb/{n:02d}/POSCAR").structure for n in range(5)]
    hop = oxide[0][0].coords - oxide[-1][0].coords
    for before, after in pairwise(images):
        moved = [a.distance(b) for a, b in zip(before, after, strict=True)]
        moving = max(range(len(moved)), key=moved.__getitem__)
        assert images[0][moving].specie.symbol == "Li"
        assert 0.1 < moved[moving] < (hop @ hop) ** 0.5
    first, last = images[0], images[-1]
    assert max(a.distance(b) for a, b in zip(first, last, strict=True)) == pytest.approx(
        (hop @ hop) ** 0.5, abs=1e-4
    )


def test_incar_of_the_band(written, oxide):
    incar = Incar.from_file(written[0] / "neb/INCAR")
    asked = {"IMAGES": 3, "SPRING": -5, "LCLIMB": True, "IOPT": 1, "IBRION": 3, "POTIM": 0}
    asked |= {"ISIF": 2, "EDIFFG": -0.05, "ENCUT": 520, "ISPIN": 2, "LDAU": True}
    assert {key: incar.get(key) for key in asked} == asked
    assert incar["GGA"].upper() == "PE"
    assert len(incar["MAGMOM"]) == len(oxide[0])


def test_charge_is_one_electron_more_than_neutral(written, oxide):
    for name in ("initial", "final", "neb"):
        incar = Incar.from_file(written[0] / name / "INCAR")
        assert incar["NELECT"] == electrons(oxide[0]) + 1
    # Li_sv 3, Co 9, O 6, as the headers of the potentials say
    counts = oxide[0].composition.get_el_amt_dict()
    assert electrons(oxide[0]) == 3 * counts["Li"] + 9 * counts["Co"] + 6 * counts["O"]


def test_ends_relax_at_fixed_cell_with_the_same_electrons(written):
    end, band = (Incar.from_file(written[0] / n / "INCAR") for n in ("initial", "neb"))
    assert (end["ISIF"], end["IBRION"]) == (2, 2)
    assert "IMAGES" not in end
    for key in ("ENCUT", "ISMEAR", "SIGMA", "GGA", "MAGMOM", "LDAUU", "PREC", "LREAL", "EDIFF"):
        assert end.get(key) == band.get(key), key


def test_kpoints_are_one_gamma_centred_grid(written):
    grids = [Kpoints.from_file(p) for p in sorted(written[0].rglob("KPOINTS"))]
    assert len(grids) == 8
    assert all(grid.style.name == "Gamma" and grid.kpts == grids[0].kpts for grid in grids)


def test_stock_vasp_gets_no_vtst_tag(oxide, tmp_path):
    write_neb_inputs(oxide, tmp_path / "hop", flavour="stock")
    incar = Incar.from_file(tmp_path / "hop/neb/INCAR")
    assert not {"LCLIMB", "IOPT", "ICHAIN", "NELECT"} & set(incar)
    assert incar["IBRION"] == 2


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_functional_of_each_preset(name, oxide, tmp_path):
    write_neb_inputs(oxide, tmp_path / "hop", preset=name)
    incar = Incar.from_file(tmp_path / "hop/neb/INCAR")
    assert bool(incar.get("LDAU")) == (name == "mp")
    assert ("METAGGA" in incar, "GGA" in incar) == (
        (True, False) if name == "r2scan" else (False, True)
    )


def test_presets_of_ones_own(oxide, tmp_path):
    own = VaspPreset({"ENCUT": 333}, reciprocal_density=200, fmax_ev_ang=0.02)
    write_neb_inputs(oxide, tmp_path / "hop", preset=own)
    incar = Incar.from_file(tmp_path / "hop/neb/INCAR")
    assert (incar["ENCUT"], incar["EDIFFG"]) == (333, -0.02)


def test_mistakes_are_told_in_one_line_and_write_nothing(oxide, tmp_path):
    folder = tmp_path / "hop"
    swapped = [*oxide[:-1], Structure.from_sites(oxide[-1][::-1])]
    for said, path, options in (
        ("10 MPI ranks are not divisible by 3 images", oxide, {"ranks": 10}),
        ("'mpp' is no preset; allowed: demo, mp", oxide, {"preset": "mpp"}),
        ("has no image", oxide[::4], {}),
        ("site order changes", swapped, {}),
    ):
        with pytest.raises(BadInput, match=said):
            write_neb_inputs(path, folder, **options)
    assert not folder.exists()
    folder.mkdir()
    (folder / "keep").write_text("mine")
    with pytest.raises(BadInput, match="not empty"):
        write_neb_inputs(oxide, folder)
