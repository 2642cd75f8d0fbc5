"""The authors' exports: every orientation and notation gives the band that went in."""

import gzip
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from jarvis.core.atoms import Atoms
from pymatgen.core import Structure

from em_model.data import read_bands
from em_model.errors import BadInput

from .conftest import host_bands


def structure(band, sites=None):
    sites = list(range(len(band.species))) if sites is None else sites
    return Structure(band.lattice, [band.species[s] for s in sites], band.frac_coords[sites])


def ends(band):
    """The two end structures; the final one wrapped, its sites in another order within elements."""
    host = band.host_sites.tolist()
    initial, final = structure(band, [0, *host]), structure(band, [4, *host])
    final = Structure(final.lattice, final.species, final.frac_coords % 1.0)
    ion = [i for i, s in enumerate(final.species) if s.symbol == band.working_ion]
    order = [*reversed(ion), *range(len(ion), len(final))]
    return initial, Structure.from_sites([final[i] for i in order])


def jarvis(band):
    s = structure(band)
    elements = [site.specie.symbol for site in s]
    return Atoms(s.lattice.matrix, s.cart_coords, elements, cartesian=True).to_dict()


def assert_same(bands, known):
    for found, band in zip(bands, known, strict=True):
        assert found.working_ion == "Li"
        assert found.band_sites == (0, 1, 2, 3, 4)
        assert found.species == band.species
        assert np.allclose(found.lattice, band.lattice)
        assert np.allclose(
            np.diff(found.path_cart, axis=0), np.diff(band.path_cart, axis=0), atol=1e-5
        )
        apart = found.frac_coords - band.frac_coords
        assert np.allclose(apart, np.round(apart), atol=1e-6)
        assert found.barrier_ev == pytest.approx(band.barrier_ev)


@pytest.fixture
def known():
    return host_bands()[:4]


@pytest.mark.parametrize("orient", ["records", "columns", "index", "split"])
def test_data_frames_in_every_orientation(known, tmp_path, orient):
    rows = [
        {"Name": b.id, "Em (eV)": b.barrier_ev, "structure": structure(b).as_dict()} for b in known
    ]
    pd.DataFrame(rows).to_json(tmp_path / "bands.json", orient=orient)
    found = read_bands(tmp_path / "bands.json", need_barrier=True)
    assert_same(found, known)
    assert [b.system for b in found] == [b.id for b in known]


def test_structures_in_every_notation(known, tmp_path):
    # CIF and POSCAR put a path that crosses the cell's edge back into the cell.
    known = [
        replace(b, frac_coords=np.concatenate([b.frac_coords[:5] - 0.1, b.frac_coords[5:]]))
        for b in known
    ]
    shapes = [
        {"atoms": jarvis(known[0])},
        {"structure": json.dumps(structure(known[1]).as_dict())},
        {"structure": structure(known[2]).to(fmt="cif")},
        {"structure": structure(known[3]).to(fmt="poscar")},
    ]
    rows = [{**s, "jid": b.id, "target": b.barrier_ev} for s, b in zip(shapes, known, strict=True)]
    with gzip.open(tmp_path / "bands.json.gz", "wt") as file:
        json.dump(rows, file)
    found = read_bands(tmp_path / "bands.json.gz")
    assert [b.id for b in found] == [b.id for b in known]
    assert_same(found, known)


def test_pairs_of_ends_become_bands(known, tmp_path):
    rows = []
    for band in known:
        initial, final = ends(band)
        rows.append(
            {
                "initial_structure": initial.as_dict(),
                "final_structure": final.as_dict(),
                "barrier": band.barrier_ev,
            }
        )
    (tmp_path / "ends.json").write_text(json.dumps({"data": rows}))
    found = read_bands(tmp_path / "ends.json", need_barrier=True)
    assert_same(found, known)
    assert [b.length_ang for b in found] == pytest.approx([b.length_ang for b in known])


def test_our_own_fields_in_one_json_list(known, tmp_path):
    rows = [
        {
            "id": 7,
            "working_ion": "Li",
            "lattice": known[0].lattice.tolist(),
            "species": list(known[0].species),
            "frac_coords": known[0].frac_coords.tolist(),
        }
    ]
    (tmp_path / "own.json").write_text(json.dumps(rows))
    (found,) = read_bands(tmp_path / "own.json")
    assert found.id == "7"
    assert found.species == known[0].species


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row.pop("initial"), "need a band"),
        (lambda row: row.update(initial="Li F"), "initial: no structure"),
        (lambda row: row["final"]["lattice"]["matrix"][0].__setitem__(0, 20.0), "lattice differs"),
        (lambda row: row["final"]["sites"].pop(), "other atoms"),
        (lambda row: row.update(final=row["initial"]), "one ion that moves"),
        (lambda row: row.update(barrier="high"), "barrier_ev"),
        (lambda row: row.pop("barrier"), "barrier_ev: missing"),
    ],
)
def test_entries_that_are_no_bands(known, tmp_path, change, message):
    initial, final = (s.as_dict() for s in ends(known[0]))
    row = {"initial": initial, "final": final, "barrier": 0.5}
    row = json.loads(json.dumps(row))
    change(row)
    (tmp_path / "ends.json").write_text(json.dumps([row]))
    with pytest.raises(BadInput, match=message) as caught:
        read_bands(tmp_path / "ends.json", need_barrier=True)
    assert "entry 0" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_exports(tmp_path):
    for content, message in (("{}\n{}", "JSON lines"), ("[]", "no records"), ("3", "no records")):
        (tmp_path / "x.json").write_text(content)
        with pytest.raises(BadInput, match=message):
            read_bands(tmp_path / "x.json")
