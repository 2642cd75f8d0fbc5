"""Relaxed ends: turned to where the next hop needs them, and relaxed once."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.optimize import BFGS

from stores.screen_store import open_store
from workflows.neb import NebSettings, run_neb
from workflows.neb_band import frozen
from workflows.neb_ends import RelaxedEnd, StoredEnds
from workflows.stages.neb import rounds

from .test_neb import EmtEngine

SETTINGS = NebSettings(fmax_ev_ang=0.02, symmetry=False)


def vacancy_hop(neighbour: int) -> tuple[Atoms, Atoms]:
    """A copper atom that jumps into a vacancy at one of its neighbours."""
    crystal = bulk("Cu", cubic=True, a=3.6).repeat(2)
    near = np.argsort(crystal.get_distances(0, range(1, len(crystal)), mic=True), kind="stable") + 1
    hole = int(near[neighbour])
    final = crystal.copy()
    final.positions[0] += crystal.get_distance(0, hole, mic=True, vector=True)
    del crystal[hole], final[hole]
    return crystal, final


def relaxed(atoms: Atoms) -> Atoms:
    atoms = atoms.copy()
    atoms.calc = EMT()
    BFGS(atoms, logfile=None).run(fmax=0.02)
    return frozen(atoms)


def test_turned_end_has_the_energy_and_forces_of_its_geometry():
    initial, final = vacancy_hop(0)
    after = relaxed(initial)
    known = RelaxedEnd(
        before=initial,
        defect_ang=final.positions[0],
        displacements_ang=after.positions - initial.positions,
        forces_ev_ang=after.get_forces(),
        energy_ev=after.get_potential_energy(),
    )
    known = RelaxedEnd.from_dict(known.as_dict())
    other, other_final = vacancy_hop(5)
    turned = known.at(other, other_final.positions[0])
    assert turned is not None
    assert not np.allclose(turned.positions, other.positions, atol=1e-3)  # it did relax
    fresh = turned.copy()
    fresh.calc = EMT()
    assert turned.get_potential_energy() == pytest.approx(fresh.get_potential_energy(), abs=1e-8)
    assert turned.get_forces() == pytest.approx(fresh.get_forces(), abs=1e-8)


def test_end_that_only_looks_alike_is_not_taken():
    initial, final = vacancy_hop(0)
    known = RelaxedEnd(initial, final.positions[0], np.zeros((31, 3)), np.zeros((31, 3)), 0.0)
    other, other_final = vacancy_hop(5)
    other.symbols[7] = "Ag"
    assert known.at(other, other_final.positions[0]) is None
    other, other_final = vacancy_hop(5)
    other.positions[7] += 0.1
    assert known.at(other, other_final.positions[0]) is None


def test_second_hop_of_a_host_relaxes_no_end_again(tmp_path):
    results = []
    with open_store(str(tmp_path / "s.store")) as store:
        for neighbour in (0, 5):
            initial, final = vacancy_hop(neighbour)
            ends = StoredEnds(store, ["copper"], (0, 0), initial, final, "vacancy")
            steps = []
            shared = run_neb(
                initial, final, EmtEngine(), SETTINGS, ends=ends, progress=steps.append
            )
            alone = run_neb(initial, final, EmtEngine(), SETTINGS)
            assert shared.barrier_ev == pytest.approx(alone.barrier_ev, abs=2e-3)
            results.append((shared, alone, steps))
    first, second = results
    assert [s.force_calls for s in second[2] if s.stage.endswith("end")] == [0, 0]
    assert first[0].force_calls < first[1].force_calls  # its second end is its first one turned
    assert second[0].force_calls < first[0].force_calls


def test_ends_of_other_settings_are_relaxed_anew(tmp_path):
    initial, final = vacancy_hop(0)
    with open_store(str(tmp_path / "s.store")) as store:
        kept = StoredEnds(store, ["tight"], (0, 0), initial, final, "vacancy")
        kept.keep("initial", initial, relaxed(initial))
        other = StoredEnds(store, ["loose"], (0, 0), initial, final, "vacancy")
        assert kept.find("initial", initial) is not None
        assert other.find("initial", initial) is None


def test_hops_that_wait_for_one_end_are_in_different_rounds():
    tasks = {"a": {1}, "b": {1, 2}, "c": {2}, "d": {3}, "e": set()}
    assert rounds(list(tasks), tasks.__getitem__) == [["a", "c", "d", "e"], ["b"]]
    assert rounds([], tasks.__getitem__) == []
