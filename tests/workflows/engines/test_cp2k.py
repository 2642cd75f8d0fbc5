"""CP2K as an engine, where it is installed: forces."""

from __future__ import annotations

import shutil

import pytest
from ase import Atoms

from stores.errors import BadInput
from workflows.engines import get_engine

installed = pytest.mark.skipif(not shutil.which("cp2k_shell"), reason="CP2K is not installed")


def test_absent_command_is_bad_input():
    with pytest.raises(BadInput, match="no command 'cp2k_elsewhere'"):
        get_engine("cp2k", command="cp2k_elsewhere")


@installed
def test_forces_are_the_gradient_of_the_energy(tmp_path):
    engine = get_engine("cp2k", cutoff_ry=200, eps_scf=1e-7)
    assert {"Li", "F", "O", "P", "S"} <= engine.elements
    atoms = Atoms("LiF", positions=[[0, 0, 0], [1.8, 0.1, 0]], cell=[6, 6, 6], pbc=True)
    atoms.calc = engine.calculator(tmp_path)
    force = atoms.get_forces()[0, 0]
    energies = []
    for step in (0.02, -0.04):
        atoms.positions[0, 0] += step
        energies.append(atoms.get_potential_energy())
    assert abs(force) > 0.1
    assert -(energies[0] - energies[1]) / 0.04 == pytest.approx(force, abs=0.03)
