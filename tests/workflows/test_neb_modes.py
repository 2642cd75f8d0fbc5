"""The softest direction from few products with a Hessian, and what is made of it."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from copper import copper_vacancy

from workflows.engines import AseEngine
from workflows.neb import NebSettings, run_neb
from workflows.neb_modes import softest
from workflows.neb_ridge import symmetric_ways
from workflows.neb_symmetry import path_rotations


def asked(matrix: np.ndarray, starts: np.ndarray, **options: float):
    """Softest direction of a matrix over n atoms, and the directions that were asked for."""
    directions: list[np.ndarray] = []

    def stiffness(direction: np.ndarray) -> np.ndarray:
        directions.append(direction.ravel())
        return (matrix @ direction.ravel()).reshape(direction.shape)

    return softest(stiffness, starts, **options), np.array(directions)


ION = np.zeros((3, 3, 3))
ION[:, 0] = np.eye(3)


def test_a_chain_is_followed_until_the_bound_is_passed_or_the_calls_are_spent():
    matrix = 2 * np.eye(9) + 3 * (np.eye(9, k=1) + np.eye(9, k=-1))
    found, directions = asked(matrix, ION, below=-2.5, calls=9)
    assert np.linalg.eigvalsh(matrix)[0] < found.curvature_ev_ang2 < -2.5
    mode = found.mode.ravel()
    assert mode @ matrix @ mode == pytest.approx(found.curvature_ev_ang2)
    assert directions @ directions.T == pytest.approx(np.eye(found.calls), abs=1e-8)
    few, _ = asked(matrix, ION, below=-2.5, calls=3)
    assert few.calls == 3
    assert few.curvature_ev_ang2 > -2.5


def test_stiff_surroundings_end_the_search_at_once():
    matrix = np.diag([20.0, 25, 30, 5, 5, 5, 5, 5, 5])
    found, _ = asked(matrix, ION, below=-0.3, calls=6)
    assert (found.calls, found.curvature_ev_ang2) == (3, pytest.approx(20.0))


def test_a_host_that_yields_makes_a_ridge_of_what_the_ion_alone_calls_a_valley():
    matrix = np.diag([8.0, 9, 0.5, 4, 4, 4, 4, 4, 4])
    matrix[2, 5] = matrix[5, 2] = 2.5  # the ion at z pulls a host atom along
    assert np.linalg.eigvalsh(matrix)[0] == pytest.approx(-0.8, abs=0.05)
    found, _ = asked(matrix, ION, below=-0.3, calls=6)
    assert found.curvature_ev_ang2 < -0.3
    assert found.calls == 4


def test_the_path_itself_is_left_out():
    matrix = np.diag([-5.0, 9, 8, 5, 5, 5, 5, 5, 5])
    along = ION[0]
    found, directions = asked(matrix, ION, below=-0.3, calls=6, barred=along)
    assert found.curvature_ev_ang2 == pytest.approx(8.0)
    assert directions @ along.ravel() == pytest.approx(0.0, abs=1e-12)
    assert found.calls == 2


def test_of_alike_directions_rounding_chooses_none():
    matrix = np.diag([-1.0, -1.0, 9, 5, 5, 5, 5, 5, 5])
    noise = np.random.default_rng(3).normal(0, 1e-6, (9, 9))
    modes = [
        asked(m, ION, below=-0.3, calls=6)[0].mode
        for m in (matrix, matrix + noise + noise.T, matrix - noise - noise.T)
    ]
    assert modes[1] == pytest.approx(modes[0], abs=1e-4)
    assert modes[2] == pytest.approx(modes[0], abs=1e-4)
    assert modes[0][0] == pytest.approx([0.6, 0.8, 0], abs=1e-4)


def turned(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def test_ways_off_a_threefold_axis_keep_a_mirror():
    mirror = np.diag([1.0, -1.0, 1.0])
    group = [np.eye(3), turned(2 * np.pi / 3), turned(-2 * np.pi / 3)]
    rotations = np.array([*group, *(turn @ mirror for turn in group)])
    c, s = np.cos(0.3), np.sin(0.3)  # rounding may have chosen any two directions
    one, other = np.zeros((2, 3)), np.zeros((2, 3))
    one[0], other[0] = [c, s, 0], [-s, c, 0]
    ways = symmetric_ways(rotations, one, other)
    angles = np.degrees([np.arctan2(way[0, 1], way[0, 0]) for way in ways]) % 360
    assert sorted(angles.round(1) % 360) == [0, 60, 120, 180, 240, 300]
    assert np.linalg.norm(ways, axis=(1, 2)) == pytest.approx(1.0)
    assert not symmetric_ways(np.array(group), one, other)


def test_operations_of_a_path_turn_it_round_or_leave_it():
    crystal, final = copper_vacancy()
    vector = final.positions[0] - crystal.positions[0]
    rotations = path_rotations(crystal, final)
    assert len(rotations) == 8  # mmm, between two atoms of a face-centred crystal
    along = vector / np.linalg.norm(vector)
    assert np.abs(rotations @ along @ along) == pytest.approx(1.0)
    assert np.abs(np.linalg.det(rotations)) == pytest.approx(1.0)
    final.positions[0] += [0.3, 0, 0.1]
    assert len(path_rotations(crystal, final)) < 8


class YieldingHost(Calculator):
    """A hop along x over a hill, and a host atom that the ion can push out of its way.

    Half way the ion's own curvature along z is positive, but host and ion together fall.
    """

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        (x, y, z), host = atoms.positions[0], atoms.positions[1] - [1, 5, 5]
        s, c = np.sin(np.pi * x / 2), np.cos(np.pi * x / 2)
        w = host[2]
        # across: z²/2·0.5 + w²/2·4 + 2.5 z w near the middle, held by quartic walls
        side = 0.25 * z**2 + 2.5 * z * w + 0.8 * (z**2 + w**2) ** 2
        still = 2 * w**2 + host[0] ** 2 + host[1] ** 2 + 2 * y**2 + 2 * c**2 * z**2
        forces = np.zeros((len(atoms), 3))
        forces[0, 0] = -np.pi * s * c * (1 + side - 2 * z**2)
        forces[0, 1] = -4 * y
        quartic = 3.2 * (z**2 + w**2)
        forces[0, 2] = -(s**2 * (0.5 * z + 2.5 * w + quartic * z) + 4 * c**2 * z)
        forces[1] = [-2 * host[0], -2 * host[1], -(s**2 * (2.5 * z + quartic * w) + 4 * w)]
        self.results = {"energy": float(s**2 * (1 + side) + still), "forces": forces}


@pytest.mark.parametrize("leave", [True, False])
def test_a_band_leaves_the_ridge_that_its_host_makes(leave):
    initial = Atoms("H2", positions=[[0, 0, 0], [1, 5, 5]], cell=[10, 10, 10], pbc=True)
    final = initial.copy()
    final.positions[0, 0] = 2.0
    engine = AseEngine("yielding", lambda folder: YieldingHost(), shared=False)
    settings = NebSettings(fmax_ev_ang=0.01, images=5, leave_ridges=leave, symmetry=False)
    result = run_neb(initial, final, engine, settings)
    assert result.converged
    top = result.images[result.saddle_index].positions
    if leave:
        assert result.barrier_ev < 0.97
        assert abs(top[0, 2]) > 0.1
    else:
        assert result.barrier_ev == pytest.approx(1.0, abs=1e-3)
        assert top[0, 2] == pytest.approx(0.0, abs=1e-3)
    assert any("ridge" in warning for warning in result.warnings) == leave


def test_yielding_host_has_the_forces_of_its_energy():
    atoms = Atoms("H2", positions=[[0.7, 0.1, 0.2], [1.1, 5.1, 4.8]], cell=[10, 10, 10], pbc=True)
    atoms.calc = YieldingHost()
    forces = atoms.get_forces()
    for place in np.ndindex(2, 3):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[place] += sign * 1e-4
            moved.calc = YieldingHost()
            energies.append(moved.get_potential_energy())
        assert forces[place] == pytest.approx(-(energies[0] - energies[1]) / 2e-4, abs=1e-6)
