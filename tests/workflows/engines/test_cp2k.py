"""CP2K as an engine, where it is installed: forces and a genuine band."""

from __future__ import annotations

import shutil

import pytest
from ase.build import bulk
from pymatgen.core import Lattice, Structure

from stores.errors import BadInput
from workflows.bands import build_endpoints
from workflows.dft import dft_preset
from workflows.engines import get_engine
from workflows.hops import distinct_hops
from workflows.hosts import prepare_host
from workflows.neb import run_neb

installed = pytest.mark.skipif(not shutil.which("cp2k_shell"), reason="CP2K is not installed")


def test_absent_command_is_bad_input():
    with pytest.raises(BadInput, match="no command 'cp2k_elsewhere'"):
        get_engine("cp2k", command="cp2k_elsewhere")


@installed
def test_forces_are_the_gradient_of_the_energy(tmp_path):
    engine = get_engine("cp2k", cutoff_ry=300, eps_scf=1e-7)
    assert {"Li", "F", "O", "P", "S"} <= engine.elements
    atoms = bulk("LiF", "rocksalt", a=4.03, cubic=True)
    atoms.positions[0] += [0.1, 0.05, 0.0]
    atoms.calc = engine.calculator(tmp_path)
    force = atoms.get_forces()[0, 0]
    energies = []
    for step in (0.02, -0.04):
        atoms.positions[0, 0] += step
        energies.append(atoms.get_potential_energy())
    assert abs(force) > 0.1
    assert -(energies[0] - energies[1]) / 0.04 == pytest.approx(force, abs=0.03)


@installed
@pytest.mark.slow
def test_lithium_vacancy_in_li2o_agrees_with_other_codes(tmp_path):
    preset = dft_preset("cp2k", "demo")
    cell = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.619), ["Li", "O"], [[0.25, 0.25, 0.25], [0, 0, 0]]
    )
    host = prepare_host(cell, "Li")
    ends = build_endpoints(host, distinct_hops(host, "Li").hops[0], preset.recipe)
    result = run_neb(*ends, preset.make_engine("Li"), preset.neb, folder=tmp_path)
    assert result.converged
    assert 0.2 < result.barrier_ev < 0.4  # GPAW in the same cell: 0.287 eV
