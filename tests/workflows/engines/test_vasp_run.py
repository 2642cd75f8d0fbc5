"""The whole VASP flow, with an emulator in VASP's place: success, crash, restart."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp.inputs import Poscar

from stores.errors import BadInput
from workflows.bands import build_endpoints
from workflows.dft import dft_preset
from workflows.engines import get_engine, get_potential
from workflows.engines.mace import SHIPPED, load_shipped
from workflows.engines.vasp_run import ranks_of
from workflows.hops import distinct_hops
from workflows.hosts import prepare_host
from workflows.neb import NebSettings, run_neb

pytestmark = pytest.mark.skipif(not find_spec("vpmdk_core"), reason="vpmdk is not installed")
EMULATOR = Path(__file__).parents[2] / "helpers" / "vasp_emulator.py"
SETTINGS = NebSettings(fmax_ev_ang=0.05, images=1)


@pytest.fixture(scope="module")
def ends() -> tuple[Structure, Structure]:
    cell = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.619), ["Li", "O"], [[0.25, 0.25, 0.25], [0, 0, 0]]
    )
    host = prepare_host(cell, "Li")
    recipe = dft_preset("gpaw", "demo").recipe
    return build_endpoints(host, distinct_hops(host, "Li").hops[0], recipe)


@pytest.fixture
def emulator(tmp_path, monkeypatch):
    """VASP's engine with the emulator, and the folder of its log."""
    torch.save(load_shipped(SHIPPED / "mini"), tmp_path / "mini.model")
    monkeypatch.setenv("EMULATOR_MODEL", str(tmp_path / "mini.model"))
    monkeypatch.setenv("EMULATOR_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("EMULATOR_CRASH", str(tmp_path / "crash"))
    preset = {"incar": {"GGA": "PE"}, "reciprocal_density": 16, "fmax_ev_ang": 0.05}
    return get_engine(
        "vasp",
        preset=preset,
        charge_e=-1,
        command=f"{sys.executable} {EMULATOR}",
        potcar_spec=True,
    )


def log_of(folder: Path) -> list[str]:
    return (folder / "log").read_text().splitlines()


def test_crash_restart_and_success(ends, emulator, tmp_path):
    hop = tmp_path / "hop"
    (tmp_path / "crash").touch()
    with pytest.raises(Exception, match=r"[Rr]eturn code"):
        run_neb(*ends, emulator, SETTINGS, folder=hop)
    assert log_of(tmp_path) == ["initial whole", "neb crash"]  # symmetry gives the final end
    (tmp_path / "crash").unlink()

    result = run_neb(*ends, emulator, SETTINGS, folder=hop)
    assert log_of(tmp_path)[2:] == ["neb whole"]  # the end was not relaxed again
    assert result.converged
    left = Poscar.from_file(next((hop / "neb.1" / "01").glob("CONTCAR*"))).structure
    taken = Poscar.from_file(next((hop / "neb" / "01").glob("POSCAR*"))).structure
    away = taken.frac_coords - left.frac_coords
    assert away - np.round(away) == pytest.approx(np.zeros_like(away), abs=1e-6)

    mini = run_neb(*ends, get_potential("mini"), SETTINGS)
    assert result.barrier_ev == pytest.approx(mini.barrier_ev, abs=0.02)
    assert result.images[0].positions == pytest.approx(mini.images[0].positions, abs=0.05)
    assert list(result.images[1].symbols) == list(mini.images[1].symbols)

    again = run_neb(*ends, emulator, SETTINGS, folder=hop)
    assert again.barrier_ev == result.barrier_ev
    assert len(log_of(tmp_path)) == 3  # all of it was there


def test_ranks_that_do_not_divide_are_refused_before_the_band(ends, emulator, tmp_path):
    mpirun = tmp_path / "mpirun"
    mpirun.write_text('#!/bin/sh\nshift 2\nexec "$@"\n')
    mpirun.chmod(0o755)
    emulator.command = emulator.gamma_command = f"{mpirun} -np 4 {emulator.command}"
    with pytest.raises(BadInput, match="4 MPI ranks are not divisible by 3 images"):
        run_neb(*ends, emulator, NebSettings(images=3), folder=tmp_path / "hop")
    assert not (tmp_path / "hop" / "neb").exists()


@pytest.mark.parametrize(
    ("command", "ranks"),
    [("mpirun -np 20 vasp_std", 20), ("srun --ntasks=12 vasp_gam", 12), ("vasp_std", None)],
)
def test_ranks_are_read_from_the_command(command, ranks):
    assert ranks_of(command) == ranks


def test_missing_command_is_bad_input(ends, tmp_path):
    engine = get_engine("vasp", command="vasp_that_is_not_there")
    with pytest.raises(BadInput, match=r"vasp_that_is_not_there.*VASP_CMD") as caught:
        run_neb(*ends, engine, SETTINGS, folder=tmp_path)
    assert "\n" not in str(caught.value)


def test_settings_and_charge_are_its_identity():
    one = get_engine("vasp", charge_e=-1).identity().detail
    assert one["charge_e"] == -1
    assert one["incar"]["EDIFFG"] == -0.05
    assert one != get_engine("vasp", charge_e=0).identity().detail
    assert one != get_engine("vasp", charge_e=-1, flavour="stock").identity().detail
    assert np.isin(["Li", "Fe", "O"], sorted(get_engine("vasp").elements)).all()
