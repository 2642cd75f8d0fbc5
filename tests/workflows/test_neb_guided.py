"""A cheap potential that goes ahead of a dear one: same saddle, fewer calls of the dear one."""

from __future__ import annotations

import numpy as np
import pytest
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.morse import MorsePotential
from copper import copper_vacancy
from emt_factory import emt

from workflows.engines import AseEngine
from workflows.engines.forces import Evaluation, forces_of
from workflows.neb import NebSettings, run_neb
from workflows.neb_guide import PATIENCE, SPIKE, TRUST_ANG, Guide, Rounds

EMT_ENGINE = AseEngine("emt", emt, shared=False)


def morse(folder: object = None) -> Calculator:
    """Copper, roughly: too soft by half."""
    return MorsePotential(epsilon=0.34, r0=2.87, rho0=3.9, rcut1=3.2, rcut2=3.8)


GUIDES = {
    "soft": AseEngine("morse", morse, shared=False),
    "wrong": AseEngine(
        "lj",
        lambda folder: LennardJones(sigma=2.0, epsilon=0.05, rc=6.0, smooth=True),
        shared=False,
    ),
}


@pytest.fixture(scope="module")
def plain():
    return run_neb(*copper_vacancy(), EMT_ENGINE, NebSettings(fmax_ev_ang=0.01))


def test_a_guide_saves_calls_and_changes_nothing_else(plain):
    asked = []
    guided = run_neb(
        *copper_vacancy(), EMT_ENGINE, NebSettings(fmax_ev_ang=0.01),
        guide=GUIDES["soft"], progress=asked.append,
    )  # fmt: skip
    assert guided.converged
    assert guided.barrier_ev == pytest.approx(plain.barrier_ev, abs=1e-3)
    ends = max(step.force_calls for step in asked if step.stage.endswith("end"))
    assert guided.force_calls - ends < 0.7 * (plain.force_calls - ends)
    for image in guided.images:  # what converged is the engine's own
        fresh = image.copy()
        fresh.calc = EMT()
        assert image.get_potential_energy() == pytest.approx(fresh.get_potential_energy(), abs=1e-6)


class NoNumbers(MorsePotential):
    """A potential that breaks where it is asked a second time."""

    asked = 0

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        type(self).asked += 1
        if self.asked > 1:
            self.results["forces"] = np.full_like(self.results["forces"], np.nan)


GUIDES["broken"] = AseEngine("broken", lambda folder: NoNumbers(), shared=False)


@pytest.mark.parametrize("guide", ["wrong", "broken"])
def test_a_guide_that_is_no_help_is_left(plain, guide):
    guided = run_neb(
        *copper_vacancy(), EMT_ENGINE, NebSettings(fmax_ev_ang=0.01), guide=GUIDES[guide]
    )
    assert guided.converged
    assert guided.barrier_ev == pytest.approx(plain.barrier_ev, abs=1e-3)


@pytest.fixture
def taught():
    """A guide that has seen some geometries near one of a copper crystal."""
    crystal, _ = copper_vacancy()
    crystal.rattle(0.02, seed=1)
    guide, dear = Guide(forces_of(GUIDES["soft"])), forces_of(EMT_ENGINE)
    random = np.random.default_rng(0)
    steps = random.normal(0, 0.01, (3, len(crystal), 3))
    for step in steps:
        moved = crystal.copy()
        moved.positions += step
        guide.learn([moved], ["a"], dear.evaluate([moved], ["a"]))
    guide.learn([crystal], ["a"], dear.evaluate([crystal], ["a"]))
    return guide, dear, crystal, steps


def test_stand_in_is_the_engine_where_it_was_asked_last(taught):
    guide, dear, crystal, _ = taught
    (said,), (true,) = guide.evaluate([crystal], ["a"]), dear.evaluate([crystal], ["a"])
    assert said.energy_ev == pytest.approx(true.energy_ev, abs=1e-9)
    assert said.forces_ev_ang == pytest.approx(true.forces_ev_ang, abs=1e-9)


def test_stand_in_has_learned_the_curvature_it_has_seen(taught):
    guide, dear, crystal, steps = taught
    between = crystal.copy()
    between.positions += steps[:2].mean(axis=0)
    (true,) = dear.evaluate([between], ["a"])
    (said,) = guide.evaluate([between], ["a"])
    (bare,) = guide.forces.evaluate([between], ["a"])
    (at_rest,) = dear.evaluate([crystal], ["a"])
    (bare_at_rest,) = guide.forces.evaluate([crystal], ["a"])
    # beside the potential shifted to the right forces at one point: the same without learning
    shifted = bare.forces_ev_ang + at_rest.forces_ev_ang - bare_at_rest.forces_ev_ang
    error = np.abs(said.forces_ev_ang - true.forces_ev_ang).max()
    assert error < 0.3 * np.abs(shifted - true.forces_ev_ang).max()
    # and energies are those that belong to the forces
    assert said.energy_ev == pytest.approx(true.energy_ev, abs=5e-4)


def test_points_of_other_images_teach_less(taught):
    guide, dear, crystal, steps = taught
    guide.learn([crystal], ["b"], dear.evaluate([crystal], ["b"]))
    between = crystal.copy()
    between.positions += steps[0]
    (true,) = dear.evaluate([between], ["a"])
    errors = {
        label: np.abs(
            guide.evaluate([between], [label])[0].forces_ev_ang - true.forces_ev_ang
        ).max()
        for label in "ab"
    }
    assert errors["a"] < errors["b"]


def test_a_spike_is_learned_from_but_not_stood_on(taught):
    guide, dear, crystal, _ = taught
    far = crystal.copy()
    far.positions[0] += 0.3
    (there,) = dear.evaluate([far], ["a"])
    guide.learn([far], ["a"], [there], base=False)
    (said,), (true,) = guide.evaluate([crystal], ["a"]), dear.evaluate([crystal], ["a"])
    assert said.forces_ev_ang == pytest.approx(true.forces_ev_ang, abs=1e-9)


def test_rounds_are_shortened_after_a_spike_and_end_without_gain():
    rounds = Rounds()
    start, end = np.zeros((2, 3)), np.array([[1.0, 0, 0], [0, 0.5, 0]])
    assert not rounds.spiked(1.0)
    assert np.linalg.norm(rounds.shortened(start, end), axis=1) == pytest.approx(
        [TRUST_ANG, TRUST_ANG / 2]
    )
    assert rounds.spiked(1.1 * SPIKE)
    assert rounds.shortened(start, end)[0, 0] == pytest.approx(TRUST_ANG / 2)
    assert not rounds.spent
    for _ in range(PATIENCE - 1):
        rounds.spiked(1.0)
    assert rounds.spent
    assert rounds.shortened(start, 0.01 * end) == pytest.approx(0.01 * end)


def test_a_first_answer_needs_no_earlier_one():
    crystal, _ = copper_vacancy()
    guide = Guide(forces_of(GUIDES["soft"]))
    guide.learn([crystal], ["a"], [Evaluation(-1.0, np.ones((len(crystal), 3)))], base=False)
    (said,) = guide.evaluate([crystal], ["a"])
    assert said.energy_ev == pytest.approx(-1.0)
    assert said.forces_ev_ang == pytest.approx(1.0)
