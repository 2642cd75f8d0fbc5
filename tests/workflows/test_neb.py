"""The band driver, with ASE's effective-medium potential: fast, exact, symmetric."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.mep import NEB
from copper import copper_vacancy

from stores.documents import ModelRef
from workflows.neb import NebFailure, NebSettings, NebStep, barriers, images_for, minima, run_neb
from workflows.neb_path import unwrapped
from workflows.neb_symmetry import find_swap


class EmtEngine:
    """Any ASE calculator as an engine, in a few lines."""

    name = "emt"
    level: Literal["mlip"] = "mlip"
    shared = False
    elements = None

    def __init__(self, factory: Callable[[], Calculator] = EMT) -> None:
        self.factory = factory

    def identity(self) -> ModelRef:
        return ModelRef(name="emt")

    def calculator(self, folder=None) -> Calculator:
        return self.factory()


class EggBox(Calculator):
    """Sinusoidal potential along x of height ``2 A`` that all atoms feel, stiff across."""

    implemented_properties: ClassVar = ["energy", "forces"]
    amplitude_ev, period_ang, stiffness = 0.25, 2.0, 2.0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        x, across = atoms.positions[0, 0], atoms.positions[0, 1:]
        wave = 2 * np.pi / self.period_ang
        energy = self.amplitude_ev * (1 - np.cos(wave * x)) + 0.5 * self.stiffness * across @ across
        forces = np.zeros((len(atoms), 3))
        forces[0, 0] = -self.amplitude_ev * wave * np.sin(wave * x)
        forces[0, 1:] = -self.stiffness * across
        self.results = {"energy": float(energy), "forces": forces}


@pytest.fixture(scope="module")
def copper():
    return run_neb(*copper_vacancy(), EmtEngine(), NebSettings(fmax_ev_ang=0.01))


def test_analytic_barrier_is_exact():
    initial = Atoms("H2", positions=[[0.1, 0.2, 0], [5, 5, 5]], cell=[10, 10, 10], pbc=True)
    final = initial.copy()
    final.positions[0] = [1.9, 0, 0.2]
    result = run_neb(initial, final, EmtEngine(EggBox), NebSettings(fmax_ev_ang=1e-3))
    assert result.converged
    assert result.barrier_ev == pytest.approx(2 * EggBox.amplitude_ev, abs=1e-4)
    assert result.images[result.saddle_index].positions[0] == pytest.approx([1, 0, 0], abs=0.02)


def test_a_band_of_one_climbing_image_converges_and_says_its_force():
    settings = NebSettings(fmax_ev_ang=0.01, images=1)
    steps: list[NebStep] = []
    result = run_neb(*copper_vacancy(), EmtEngine(), settings, progress=steps.append)
    assert result.converged
    assert result.fmax_ev_ang == steps[-1].fmax_ev_ang <= 0.01
    assert result.saddle_index == 1


def test_copper_vacancy_saddle_is_a_first_order_saddle(copper):
    # the mirror plane half way pins the saddle: relaxing within the plane is an independent route
    initial, final = copper_vacancy()
    half = copper.images[len(copper.images) // 2].copy()
    half.calc = EMT()
    assert copper.converged
    assert np.linalg.norm(half.get_forces(), axis=1).max() < 0.01
    assert half.get_potential_energy() - copper.images[0].get_potential_energy() == pytest.approx(
        copper.barrier_ev, abs=1e-6
    )
    direction = (final.positions[0] - initial.positions[0]) / np.linalg.norm(
        final.positions[0] - initial.positions[0]
    )
    energies = []
    for step in (-0.1, 0.0, 0.1):
        moved = half.copy()
        moved.positions[0] += step * direction
        moved.calc = EMT()
        energies.append(moved.get_potential_energy())
    assert energies[1] > max(energies[0], energies[2])


def test_reversed_hop_swaps_forward_and_backward(copper):
    initial, final = copper_vacancy()
    back = run_neb(final, initial, EmtEngine(), NebSettings(fmax_ev_ang=0.01))
    assert back.forward_ev == pytest.approx(copper.backward_ev, abs=2e-3)
    assert back.backward_ev == pytest.approx(copper.forward_ev, abs=2e-3)


def test_same_input_same_output(copper):
    again = run_neb(*copper_vacancy(), EmtEngine(), NebSettings(fmax_ev_ang=0.01))
    assert again.profile == copper.profile
    assert again.force_calls == copper.force_calls


def test_half_a_path_gives_the_whole(copper):
    assert copper.symmetric
    whole = run_neb(*copper_vacancy(), EmtEngine(), NebSettings(fmax_ev_ang=0.01, symmetry=False))
    assert not whole.symmetric
    assert whole.barrier_ev == pytest.approx(copper.barrier_ev, abs=2e-3)
    assert copper.force_calls < 0.75 * whole.force_calls
    for image in copper.images:  # the mirrored ones tell no lies
        fresh = image.copy()
        fresh.calc = EMT()
        assert image.get_potential_energy() == pytest.approx(fresh.get_potential_energy(), abs=1e-6)
        assert image.get_forces() == pytest.approx(fresh.get_forces(), abs=1e-5)


def test_two_equal_saddles_both_climb():
    # a minimum half way: the highest image and its twin are as high
    class Camel(EggBox):
        period_ang = 1.0

    initial = Atoms("H2", positions=[[0, 0, 0], [1, 5, 5]], cell=[10, 10, 10], pbc=True)
    final = initial.copy()
    final.positions[0, 0] = 2.0
    settings = NebSettings(fmax_ev_ang=1e-3, images=7)
    result = run_neb(initial, final, EmtEngine(Camel), settings)
    assert result.symmetric
    assert result.converged
    assert result.barrier_ev == pytest.approx(2 * Camel.amplitude_ev, abs=1e-4)
    assert result.backward_ev == pytest.approx(result.forward_ev, abs=1e-6)
    assert "intermediate minimum" in result.warnings[0]


class TwoChannels(Calculator):
    """A hill on the straight way, two passes beside it; ends at x = 0 and 2."""

    implemented_properties: ClassVar = ["energy", "forces"]
    pass_ev, hill_ev = 0.3, 1.0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        x, y, z = atoms.positions[0]
        s, c = np.sin(np.pi * x / 2), np.cos(np.pi * x / 2)
        u = (y / 0.4) ** 2 - 1  # passes at y = ± 0.4
        shape = self.hill_ev * u**2 + self.pass_ev
        forces = np.zeros((len(atoms), 3))
        forces[0, 0] = -np.pi * s * c * (shape - 0.1 * y**2)
        forces[0, 1] = -(s**2 * self.hill_ev * 4 * u * y / 0.4**2 + 0.2 * c**2 * y)
        forces[0, 2] = -4 * z
        energy = s**2 * shape + 0.1 * c**2 * y**2 + 2 * z**2
        self.results = {"energy": float(energy), "forces": forces}


@pytest.mark.parametrize(("leave", "barrier_ev"), [(True, 0.3), (False, 1.3)])
def test_path_leaves_a_ridge_that_symmetry_holds_it_on(leave, barrier_ev):
    initial = Atoms("H2", positions=[[0, 0, 0], [1, 5, 5]], cell=[10, 10, 10], pbc=True)
    final = initial.copy()
    final.positions[0, 0] = 2.0
    settings = NebSettings(fmax_ev_ang=0.01, leave_ridges=leave, images=7)
    result = run_neb(initial, final, EmtEngine(TwoChannels), settings)
    assert result.converged
    assert result.barrier_ev == pytest.approx(barrier_ev, abs=0.01)
    assert result.symmetric != leave
    assert any("ridge" in warning for warning in result.warnings) == leave


class HeldHost(EggBox):
    """An egg box beside a host atom that stands on a ridge between two valleys, at y = 5 ± 0.4.

    The passing ion pushes it into one of them; while the ion is at an end, nothing does.
    """

    valley_ev, push_ev = 0.3, 0.1

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        x, u = atoms.positions[0, 0], (atoms.positions[1, 1] - 5.0) / 0.4
        push = self.push_ev * np.sin(np.pi * x / 2) ** 2
        aside = atoms.positions[1, [0, 2]] - [1, 5]
        self.results["energy"] += self.valley_ev * (u**4 - 2 * u**2) - push * u + aside @ aside
        forces = self.results["forces"]
        forces[0, 0] += self.push_ev * np.pi / 2 * np.sin(np.pi * x) * u
        forces[1] = -2 * (atoms.positions[1] - [1, 5, 5])
        forces[1, 1] = -(self.valley_ev * (4 * u**3 - 4 * u) - push) / 0.4


@pytest.mark.parametrize(("let_go", "barrier_ev"), [(True, 0.398), (False, 0.383)])
def test_ends_on_a_ridge_of_the_host_are_let_go(let_go, barrier_ev):
    initial = Atoms("HHe", positions=[[0, 0, 0], [1, 5, 5]], cell=[10, 10, 10], pbc=True)
    final = initial.copy()
    final.positions[0, 0] = 2.0
    settings = NebSettings(
        fmax_ev_ang=0.01, images=7, symmetry=False, leave_ridges=False, let_go_ends=let_go
    )
    result = run_neb(initial, final, EmtEngine(HeldHost), settings)
    assert result.converged
    assert result.barrier_ev == pytest.approx(barrier_ev, abs=0.01)
    assert (
        any("symmetry held the ends 0.300 eV" in warning for warning in result.warnings) == let_go
    )


def test_held_ends_that_find_no_rest_leave_the_band_as_an_estimate():
    initial = Atoms("HHe", positions=[[0, 0, 0], [1, 5, 5]], cell=[10, 10, 10], pbc=True)
    final = initial.copy()
    final.positions[0, 0] = 2.0
    options = {"images": 7, "symmetry": False, "leave_ridges": False, "climb_from_ev_ang": 0.1}
    steps = []
    run_neb(initial, final, EmtEngine(HeldHost), NebSettings(**options), progress=steps.append)
    ends = [step.force_calls for step in steps if step.stage == "initial end"]
    budget = ends[1] + 1  # pays for the band and for one step of the nudged end
    result = run_neb(
        initial, final, EmtEngine(HeldHost), NebSettings(max_force_calls=budget, **options)
    )
    assert not result.converged
    assert result.force_calls <= budget
    assert any("found no rest" in warning for warning in result.warnings)
    assert result.barrier_ev == pytest.approx(0.383, abs=0.05)


def test_a_site_that_only_symmetry_holds_is_refused():
    class Hill(EggBox):
        amplitude_ev = -0.25  # the ion rests half way; at both ends it stands on a hill

    initial = Atoms("H2", positions=[[0, 0, 0], [1, 5, 5]], cell=[10, 10, 10], pbc=True)
    final = initial.copy()
    final.positions[0, 0] = 2.0
    with pytest.raises(NebFailure, match="left its site") as caught:
        run_neb(initial, final, EmtEngine(Hill), NebSettings(images=7))
    assert caught.value.kind == "endpoint_left_site"


def test_path_that_dips_below_its_ends_is_no_better_than_its_span():
    found = barriers(np.array([0.0, 0.05, -0.4, 0.02, 0.0]))
    assert found["barrier_ev"] == pytest.approx(0.45)
    assert found["forward_ev"] == pytest.approx(0.05)


def test_ends_of_different_sites_are_not_swapped():
    initial, final = copper_vacancy()
    for atoms in (initial, final):
        atoms.symbols[5] = "Ag"  # nearer to one end than to the other
    distances = [atoms.get_distance(0, 5, mic=True) for atoms in (initial, final)]
    assert abs(distances[0] - distances[1]) > 0.1
    assert find_swap(initial, final) is None


def test_translation_that_only_moves_the_path_is_no_swap():
    # x + 2 takes A to B and B to the next A; only 2 - x turns the path round
    places = [[0, 0, 0], [1, 1, 1.5], [3, 1, 1.5]]
    initial = Atoms("HHe2", positions=places, cell=[4, 9, 9], pbc=True)
    final = initial.copy()
    final.positions[0, 0] = 2.0
    swap = find_swap(initial, final)
    assert swap is not None
    assert swap.rotation[0, 0] == pytest.approx(-1)
    assert swap.positions(initial, final) == pytest.approx(final.positions)
    assert swap.positions(final, initial) == pytest.approx(initial.positions)


@pytest.mark.parametrize("optimiser", ["staged", "fire"])
def test_no_geometry_is_computed_twice(optimiser):
    seen = []

    class Watched(EMT):
        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            seen.append(atoms.get_positions().round(7).tobytes())
            super().calculate(atoms, properties, system_changes)

    settings = NebSettings(optimiser=optimiser)
    result = run_neb(*copper_vacancy(), EmtEngine(Watched), settings)
    assert result.converged
    # the climbing image starts where the plain band ended
    assert len(set(seen)) == len(seen) == result.force_calls


def test_optimisers_agree(copper):
    for optimiser in ("fire", "lbfgs", "ode", "staged"):
        settings = NebSettings(fmax_ev_ang=0.01, optimiser=optimiser)
        result = run_neb(*copper_vacancy(), EmtEngine(), settings)
        assert result.barrier_ev == pytest.approx(copper.barrier_ev, abs=5e-3)


def test_shared_calculator_gives_the_same(copper):
    engine = EmtEngine()
    engine.shared = True
    result = run_neb(*copper_vacancy(), engine, NebSettings(fmax_ev_ang=0.01))
    assert result.barrier_ev == pytest.approx(copper.barrier_ev, abs=1e-9)
    assert result.force_calls == copper.force_calls


def test_profile_and_counts_are_those_of_the_images(copper):
    assert copper.profile.coordinate_ang[0] == 0
    assert (np.diff(copper.profile.coordinate_ang) > 0).all()
    assert max(copper.profile.energy_ev) == pytest.approx(copper.forward_ev, abs=1e-6)
    assert len(copper.profile.energy_ev) == len(copper.images)
    assert copper.span_ev >= copper.barrier_ev


def test_progress_is_told_every_evaluation():
    steps: list[NebStep] = []
    result = run_neb(*copper_vacancy(), EmtEngine(), progress=steps.append)
    assert {step.stage for step in steps} >= {"initial end", "final end", "climbing band"}
    assert steps[-1].force_calls == result.force_calls
    assert "fmax" in str(steps[-1])


def test_guess_saves_force_calls(copper):
    warm = run_neb(
        *copper_vacancy(), EmtEngine(), NebSettings(fmax_ev_ang=0.01), guess=copper.images
    )
    assert warm.barrier_ev == pytest.approx(copper.barrier_ev, abs=2e-3)
    assert warm.force_calls < copper.force_calls


def test_a_guess_whose_end_leads_away_is_given_up(copper):
    initial, final = copper_vacancy()
    guess = [image.copy() for image in copper.images]
    guess[0].positions[0] += 0.7 * (final.positions[0] - initial.positions[0])
    result = run_neb(initial, final, EmtEngine(), NebSettings(fmax_ev_ang=0.01), guess=guess)
    assert result.converged
    assert result.barrier_ev == pytest.approx(copper.barrier_ev, abs=1e-3)
    assert "left its site" in result.warnings[0]


def test_images_follow_the_path_length():
    first = Atoms("H", positions=[[0, 0, 0]], cell=[9, 9, 9], pbc=True)
    last = first.copy()
    for length, expected in ((2.0, 3), (3.2, 3), (3.3, 4), (5.0, 6)):
        last.positions[0, 0] = length
        assert images_for(first, last, 0.8) == expected


def test_hop_of_half_a_cell_keeps_its_direction():
    # both directions are equally short: the path given must win over the minimum image
    first = Atoms("HHe", positions=[[0, 0, 0], [0.2, 4, 4]], cell=[8, 8, 8], pbc=True)
    last = first.copy()
    last.positions[0, 0] = -4.0
    last.positions[1, 0] = 8.2  # the host atom wrapped the other way
    moved = unwrapped(first, last)
    assert moved.positions[0, 0] < -3
    assert moved.positions[1, 0] == pytest.approx(0.2)


def test_ion_that_falls_back_is_refused():
    class Slope(EggBox):
        period_ang = 4.0  # the final position of the hop is a maximum

    initial = Atoms("H2", positions=[[0, 0, 0], [5, 5, 5]], cell=[10, 10, 10], pbc=True)
    final = initial.copy()
    final.positions[0, 0] = 1.9
    with pytest.raises(NebFailure, match="left its site") as caught:
        run_neb(initial, final, EmtEngine(Slope))
    assert caught.value.kind == "endpoint_left_site"
    assert caught.value.images


def test_spent_budget_gives_a_bracket():
    initial, final = copper_vacancy()
    rng = np.random.default_rng(0)
    guess = run_neb(initial, final, EmtEngine()).images
    for image in guess[1:-1]:
        image.positions += rng.normal(0, 0.15, image.positions.shape)
    with pytest.raises(NebFailure) as caught:
        run_neb(initial, final, EmtEngine(), NebSettings(max_force_calls=20), guess=guess)
    assert caught.value.kind == "band_not_converged"
    low, high = caught.value.bracket_ev
    assert 0 <= low <= 0.776 <= high
    assert caught.value.force_calls <= 20


def test_energies_belong_to_the_images_when_the_budget_ends():
    settings = NebSettings(max_force_calls=30, usable_fmax_ev_ang=9.0, fmax_ev_ang=1e-3)
    result = run_neb(*copper_vacancy(), EmtEngine(), settings)
    assert not result.converged
    for image in result.images:
        fresh = image.copy()
        fresh.calc = EMT()
        assert image.get_potential_energy() == pytest.approx(fresh.get_potential_energy())


def test_fire_goes_on_where_the_optimiser_gives_up(monkeypatch, copper):
    from workflows import neb_relax

    monkeypatch.setitem(
        neb_relax.BAND_OPTIMISERS,
        "staged",
        (lambda band, fmax, steps: bool(band.get_forces().sum() > 1e9),),
    )
    result = run_neb(*copper_vacancy(), EmtEngine(), NebSettings(fmax_ev_ang=0.01))
    assert result.converged
    assert "went on with fire" in result.warnings[0]
    assert result.barrier_ev == pytest.approx(copper.barrier_ev, abs=5e-3)


def test_each_optimiser_is_tried_before_fire(monkeypatch, copper):
    from workflows import neb_relax

    tried = []

    def gives_up(band, fmax, steps):
        tried.append(band.get_forces().shape)
        return False

    _, *others = neb_relax.BAND_OPTIMISERS["staged"]
    monkeypatch.setitem(neb_relax.BAND_OPTIMISERS, "staged", (gives_up, *others))
    result = run_neb(*copper_vacancy(), EmtEngine(), NebSettings(fmax_ev_ang=0.01))
    assert tried
    assert result.converged
    assert not any("fire" in warning for warning in result.warnings)
    assert result.barrier_ev == pytest.approx(copper.barrier_ev, abs=5e-3)


def test_solver_says_whether_it_converged_and_gives_up_where_it_crawls():
    from workflows.neb_optimisers import band_ode, band_ode_until_it_crawls

    class Ravine(EggBox):
        stiffness = 200.0  # walls a hundred times as steep as the floor

    class Counted(NEB):
        count = 0

        def get_forces(self):
            self.count += 1
            return super().get_forces()

    def band() -> Counted:
        images = [Atoms("H", positions=[[x, 0.3 * (0 < x < 2), 0]]) for x in np.linspace(0, 2, 9)]
        for image in images:
            image.calc = Ravine()
        return Counted(images, method="improvedtangent")

    spent, crawling = band(), band()
    assert not band_ode(spent, 1e-9, 100)
    assert band_ode(band(), 0.05, 300)
    assert not band_ode_until_it_crawls(crawling, 1e-9, 100)
    assert spent.count == 101
    assert crawling.count < 50


def test_forces_that_are_no_numbers_are_a_failure():
    class Broken(EMT):
        def calculate(self, *args, **kwargs):
            super().calculate(*args, **kwargs)
            self.results["forces"] = self.results["forces"] * np.nan

    with pytest.raises(NebFailure) as caught:
        run_neb(*copper_vacancy(), EmtEngine(Broken))
    assert caught.value.kind == "forces_not_finite"


def test_intermediate_minima_are_found():
    assert minima(np.array([0.0, 0.4, 0.1, 0.5, 0.0])) == [2]
    assert minima(np.array([0.0, 0.4, 0.39, 0.41, 0.0])) == []  # a ripple is none
    assert minima(np.array([0.0, 0.2, 0.5, 0.2, -0.1])) == []


def test_unlike_ends_are_refused():
    initial, final = copper_vacancy()
    final.symbols[3] = "Ag"
    with pytest.raises(NebFailure, match="species differ") as caught:
        run_neb(initial, final, EmtEngine())
    assert caught.value.kind == "ends_do_not_match"


def test_unknown_element_is_refused_before_work():
    engine = EmtEngine()
    engine.elements = ["Ag"]
    with pytest.raises(NebFailure, match="Cu") as caught:
        run_neb(*copper_vacancy(), engine)
    assert caught.value.force_calls == 0


class Stairs(Calculator):
    """Along x a hill, a dip and a higher hill, ends at 0 and 4; stiff across."""

    implemented_properties: ClassVar = ["energy", "forces"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        x, across = atoms.positions[0, 0], atoms.positions[0, 1:]
        wave = np.pi / 2  # E = (1 − cos πx)(1 + x/4)/4: minima at 0, 2 and 4
        rise = 1 + x / 4
        forces = np.zeros((len(atoms), 3))
        forces[0, 0] = (
            -(2 * wave * np.sin(2 * wave * x) * rise + (1 - np.cos(2 * wave * x)) / 4) / 4
        )
        forces[0, 1:] = -2 * across
        self.results = {
            "energy": float((1 - np.cos(2 * wave * x)) * rise / 4 + across @ across),
            "forces": forces,
        }


def test_path_is_split_at_a_minimum_and_every_saddle_climbs():
    initial = Atoms("H2", positions=[[0, 0, 0], [1, 5, 5]], cell=[10, 10, 10], pbc=True)
    final = initial.copy()
    final.positions[0, 0] = 4.0
    result = run_neb(initial, final, EmtEngine(Stairs), NebSettings(fmax_ev_ang=1e-3, images=7))
    assert result.converged
    assert len(result.minima) == 3
    middle = result.minima[1]
    x = np.array([image.positions[0, 0] for image in result.images])
    assert x[middle] == pytest.approx(2.0, abs=0.01)
    energies = np.array(result.profile.energy_ev)
    grid = np.linspace(0, 4, 4001)
    exact = (1 - np.cos(np.pi * grid)) * (1 + grid / 4) / 4
    assert energies[:middle].max() == pytest.approx(exact[grid < 2].max(), abs=1e-4)
    assert energies[middle:].max() == pytest.approx(exact[grid > 2].max(), abs=1e-4)
    whole = run_neb(
        initial, final, EmtEngine(Stairs), NebSettings(fmax_ev_ang=1e-3, images=7, split=False)
    )
    assert whole.barrier_ev == pytest.approx(result.barrier_ev, abs=1e-4)


def test_saddle_has_its_mode_and_negative_curvature(copper):
    initial, final = copper_vacancy()
    along = final.positions[0] - initial.positions[0]
    ion = copper.saddle.mode[0]
    assert abs(ion @ along) / np.linalg.norm(ion) / np.linalg.norm(along) > 0.99
    assert np.linalg.norm(copper.saddle.mode) == pytest.approx(1)
    assert copper.saddle.curvature_ev_ang2 < 0


def test_hopeless_hop_is_given_up_early(copper):
    settings = NebSettings(fmax_ev_ang=0.01, give_up_above_ev=0.5)
    result = run_neb(*copper_vacancy(), EmtEngine(), settings)
    assert not result.converged
    assert result.force_calls < copper.force_calls
    assert result.barrier_ev > 0.5
    assert "too high to matter" in result.warnings[-1]


@pytest.mark.parametrize(
    ("attempts", "rung"),
    [(1, "more images"), (2, "a straight initial path"), (3, "the string method")],
)
def test_ladder_of_recovery(monkeypatch, copper, attempts, rung):
    from workflows import neb_relax

    bands = []

    def stubborn(band, fmax, steps):
        if band not in bands:
            bands.append(band)
        band.get_forces()
        return len(bands) > attempts and solver(band, fmax, steps)

    [solver] = neb_relax.BAND_OPTIMISERS["ode"]
    monkeypatch.setitem(neb_relax.BAND_OPTIMISERS, "staged", (stubborn,))
    monkeypatch.setattr(neb_relax, "band_fire", lambda band, fmax, steps: False)
    result = run_neb(*copper_vacancy(), EmtEngine(), NebSettings(fmax_ev_ang=0.01))
    assert result.converged
    assert rung in [w.split("went on with ")[1] for w in result.warnings if "went on" in w][-1]
    assert result.barrier_ev == pytest.approx(copper.barrier_ev, abs=5e-3)


def test_string_method_finds_the_pass_on_its_own():
    from workflows.engines.forces import forces_of
    from workflows.neb_band import frozen
    from workflows.neb_path import straight
    from workflows.neb_run import Run
    from workflows.neb_string import string_relaxed

    ends = []
    for x in (0.0, 2.0):
        end = Atoms("H2", positions=[[x, 0, 0], [1, 5, 5]], cell=[10, 10, 10], pbc=True)
        end.calc = TwoChannels()
        ends.append(frozen(end))
    path = straight(*ends, 5)
    path[3].positions[0, 1] = 0.05  # off the ridge
    settings = NebSettings(fmax_ev_ang=0.05, climb_from_ev_ang=0.05)
    relaxed = string_relaxed(Run(settings, forces_of(EmtEngine(TwoChannels))), path)
    assert abs(relaxed[3].positions[0]) == pytest.approx([1, 0.4, 0], abs=0.05)
