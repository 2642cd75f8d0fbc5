from __future__ import annotations

import gzip
import json
from dataclasses import replace

import numpy as np
import pytest

from em_model.data import Band, assign_hosts, host_folds, read_bands, read_crystals
from em_model.errors import BadInput


def record(band: Band, **changes) -> dict:
    base = {
        "id": band.id,
        "working_ion": band.working_ion,
        "barrier_ev": band.barrier_ev,
        "lattice": band.lattice.tolist(),
        "species": list(band.species),
        "frac_coords": band.frac_coords.tolist(),
        "band_sites": list(band.band_sites),
        "system": band.system,
    }
    return {k: v for k, v in (base | changes).items() if v != "gone"}


def write(path, *records):
    path.write_text("\n".join(json.dumps(r) for r in records) + "\n")
    return path


def test_round_trip_plain_gzipped_and_lists_as_text(tmp_path, band):
    plain = write(tmp_path / "a.jsonl", record(band))
    text = record(
        band, species=json.dumps(band.species), frac_coords=json.dumps(band.frac_coords.tolist())
    )
    zipped = tmp_path / "b.jsonl.gz"
    with gzip.open(zipped, "wt") as handle:
        handle.write(json.dumps(text) + "\n\n")
    for path in (plain, zipped):
        (read,) = read_bands(path, need_barrier=True)
        assert read.species == band.species
        assert np.array_equal(read.frac_coords, band.frac_coords)
        assert read.barrier_ev == band.barrier_ev
        assert read.length_ang == pytest.approx(band.length_ang)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"working_ion": "gone"}, "working_ion"),
        ({"working_ion": "Na"}, "band_sites"),
        ({"lattice": "gone"}, "lattice"),
        ({"lattice": [[1, 0, 0], [2, 0, 0], [0, 0, 1]]}, "volume"),
        ({"species": ["Li"]}, "band_sites|frac_coords"),
        ({"frac_coords": [[0, 0]]}, "frac_coords"),
        ({"band_sites": [0, 0, 1, 2, 3]}, "band_sites"),
        ({"band_sites": [0, 1, 2, 3, 900]}, "band_sites"),
        ({"barrier_ev": "high"}, "barrier_ev"),
        ({"barrier_ev": "gone"}, "barrier_ev"),
        ({"barrier_ev": float("nan")}, "barrier_ev"),
        ({"weight": -1}, "weight"),
    ],
)
def test_a_record_that_is_no_band_is_named(tmp_path, band, make_band, changes, words):
    path = write(tmp_path / "a.jsonl", record(make_band(7)), record(band, **changes))
    with pytest.raises(BadInput, match=words) as error:
        read_bands(path, need_barrier=True)
    assert "a.jsonl:2" in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_species_and_coinciding_sites(tmp_path, band):
    species = ["Xx" if i == 9 else s for i, s in enumerate(band.species)]
    with pytest.raises(BadInput, match="'Xx'"):
        read_bands(write(tmp_path / "a.jsonl", record(band, species=species)))
    coords = band.frac_coords.copy()
    coords[1] = coords[0]
    with pytest.raises(BadInput, match="coincide"):
        read_bands(write(tmp_path / "b.jsonl", record(band, frac_coords=coords.tolist())))


def test_files_that_cannot_be_read(tmp_path, band):
    with pytest.raises(BadInput, match="cannot be read"):
        read_bands(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(BadInput, match="empty"):
        read_bands(tmp_path / "empty.jsonl")
    (tmp_path / "broken.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(BadInput, match="cannot be read"):
        read_bands(tmp_path / "broken.jsonl.gz")
    (tmp_path / "text.jsonl").write_text("hello\n")
    with pytest.raises(BadInput, match="not JSON"):
        read_bands(tmp_path / "text.jsonl")
    with pytest.raises(BadInput, match="unique"):
        read_bands(write(tmp_path / "twice.jsonl", record(band), record(band)))


def test_barriers_are_needed_only_where_asked(tmp_path, band):
    path = write(tmp_path / "a.jsonl", record(band, barrier_ev="gone"))
    assert read_bands(path)[0].barrier_ev is None


def test_crystals(tmp_path, band):
    content = {
        "id": "1",
        "property": "phonon_peak",
        "value": 0.5,
        "split": "test",
        "lattice": band.lattice.tolist(),
        "species": list(band.species),
        "frac_coords": band.frac_coords.tolist(),
    }
    path = write(tmp_path / "c.jsonl", content)
    assert read_crystals(path)[0].value == 0.5
    assert read_crystals(path, max_atoms=3) == []
    with pytest.raises(BadInput, match="property"):
        read_crystals(write(tmp_path / "d.jsonl", content | {"property": "colour"}))


def test_hosts_join_by_framework_and_by_system_name(make_band):
    charged = make_band(1, metal="Ti")
    other_ion = make_band(2, ion="Na", metal="Ti")
    same_name = Band(**{**make_band(3, metal="V").__dict__, "system": "TiO_9"})
    stranger = make_band(4, metal="Cr")
    hosts = [b.host for b in assign_hosts([charged, other_ion, same_name, stranger])]
    assert hosts[0] == hosts[1] == hosts[2] != hosts[3]


def test_no_host_stands_in_two_folds(many_bands):
    folds = host_folds(many_bands, 5, seed=3)
    hosts = [b.host for b in assign_hosts(many_bands)]
    for host in set(hosts):
        assert len({f for f, h in zip(folds, hosts, strict=True) if h == host}) == 1
    assert np.array_equal(folds, host_folds(many_bands, 5, seed=3))
    assert set(folds) == set(range(5))


def test_bands_that_join_later_leave_the_folds_of_the_others(many_bands, make_band):
    folds = host_folds(many_bands, 5, seed=3)
    known = replace(make_band(50), id="known", added=True)  # TiO3, a host of the ten
    new = [replace(make_band(n, metal="Sc"), id=f"new{n}", added=True) for n in (60, 61)]
    joined = host_folds([*many_bands, known, *new], 5, seed=3)
    assert np.array_equal(joined[: len(folds)], folds)
    assert joined[-3] == folds[0]
    assert joined[-2] == joined[-1]


def test_a_host_that_is_named_keeps_its_name_and_lends_it(make_band):
    named = replace(make_band(0), host="anatase")
    other = replace(make_band(1, ion="Na"), id="other")
    assert [band.host for band in assign_hosts([other, named])] == ["anatase", "anatase"]
