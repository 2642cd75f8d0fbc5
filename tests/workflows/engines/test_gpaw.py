"""GPAW as an engine: real calculations on cells of a few atoms."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from pymatgen.core import Lattice, Structure

from stores.errors import BadInput
from workflows.bands import build_endpoints
from workflows.dft import dft_preset
from workflows.engines import get_engine
from workflows.engines.forces import InProcesses, OneByOne
from workflows.engines.gpaw import GpawSettings
from workflows.hops import distinct_hops
from workflows.hosts import prepare_host
from workflows.neb import NebStep, run_neb

installed = pytest.mark.skipif(
    not (find_spec("gpaw") and find_spec("gpaw_data")),
    reason="GPAW is not installed",
)


@pytest.mark.parametrize("missing", ["gpaw", "gpaw_data"])
def test_absent_package_is_bad_input_with_the_remedy(missing, monkeypatch):
    monkeypatch.setattr(
        "workflows.engines.gpaw.find_spec", lambda name: None if name == missing else object()
    )
    with pytest.raises(
        BadInput, match=rf"{missing} is not installed; pip install 'hopscreen\[gpaw"
    ):
        get_engine("gpaw")


@installed
@pytest.mark.parametrize("wrong", [{"cutoff_ev": 10}, {"cutof_ev": 300}, {"xc": "B3LYP"}])
def test_wrong_setting_is_one_line(wrong):
    with pytest.raises(BadInput) as error:
        get_engine("gpaw", **wrong)
    assert str(error.value).startswith("engine 'gpaw': ")
    assert next(iter(wrong)) in str(error.value)
    assert "\n" not in str(error.value)


@installed
def test_charge_and_every_setting_are_part_of_the_identity():
    detail = get_engine("gpaw", charge_e=-1).identity().detail
    assert detail["charge_e"] == -1
    assert set(GpawSettings.model_fields) | {"gpaw", "gpaw-data"} == set(detail)
    assert detail != get_engine("gpaw", charge_e=0).identity().detail


@installed
def test_elements_have_setups_and_can_be_restricted():
    assert {"Li", "O", "Fe", "La"} <= get_engine("gpaw").elements
    assert get_engine("gpaw", elements={"Li", "Og"}).elements == {"Li"}


@installed
def test_forces_are_the_gradient_of_the_energy(tmp_path):
    engine = get_engine(
        "gpaw",
        cutoff_ev=300,
        kpoint_density_ang=None,
        spin_polarised=False,
        energy_tolerance_ev=1e-6,
        density_tolerance=1e-6,
        eigenstates_tolerance_ev2=1e-9,
    )
    atoms = bulk("LiF", "rocksalt", a=4.03)
    atoms.positions[0] += [0.1, 0.05, 0.0]
    atoms.calc = engine.calculator(tmp_path)
    force = atoms.get_forces()[0, 0]
    energies = []
    for step in (0.01, -0.02):
        atoms.positions[0, 0] += step
        energies.append(atoms.get_potential_energy(force_consistent=True))
    assert abs(force) > 0.1
    assert -(energies[0] - energies[1]) / 0.02 == pytest.approx(force, abs=0.02)
    assert "PBE" in (tmp_path / "gpaw.txt").read_text()


@installed
def test_iron_gets_its_moment(tmp_path):
    engine = get_engine("gpaw", cutoff_ev=300, kpoint_density_ang=None, spin_polarised=True)
    atoms = Atoms("Fe", cell=[3.5] * 3, pbc=True)
    atoms.calc = engine.calculator(tmp_path)
    atoms.get_potential_energy()
    assert abs(atoms.calc._gpaw.get_magnetic_moment()) > 1.0


@installed
def test_lithium_vacancy_in_li2o_by_climbing_image_dft(tmp_path):
    """A genuine DFT-NEB of the demo preset: the barrier known for V_Li′ is about 0.3 eV."""
    preset = dft_preset("gpaw", "demo")
    cell = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.619), ["Li", "O"], [[0.25, 0.25, 0.25], [0, 0, 0]]
    )
    host = prepare_host(cell, "Li")
    ends = build_endpoints(host, distinct_hops(host, "Li").hops[0], preset.recipe)
    steps: list[NebStep] = []
    result = run_neb(
        *ends, preset.make_engine("Li"), preset.neb, folder=tmp_path, progress=steps.append
    )
    assert result.converged
    assert 0.2 < result.barrier_ev < 0.4
    assert result.forward_ev == pytest.approx(result.backward_ev, abs=0.02)
    moved = [image.positions[0] for image in result.images]
    assert moved[1] == pytest.approx((moved[0] + moved[2]) / 2, abs=0.1)
    assert {step.stage for step in steps} >= {"initial end", "climbing band"}
    assert {"initial", "image-01"} <= {log.parent.name for log in tmp_path.glob("*/gpaw.txt")}
    assert np.isfinite(result.images[1].get_forces()).all()


@installed
def test_images_side_by_side_give_the_same(tmp_path):
    engine = get_engine("gpaw", cutoff_ev=300, kpoint_density_ang=None, spin_polarised=False)
    images = [bulk("LiF", "rocksalt", a=a) for a in (3.9, 4.1)]
    labels = ["image-01", "image-02"]
    alone = OneByOne(engine, None).evaluate(images, labels)
    beside = InProcesses(engine, tmp_path, processes=2).evaluate(images, labels)
    for one, other in zip(alone, beside, strict=True):
        assert one.energy_ev == pytest.approx(other.energy_ev, abs=1e-6)
    assert {log.parent.name for log in tmp_path.glob("*/gpaw.txt")} == set(labels)
