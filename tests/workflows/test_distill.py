"""The steps that remake the mini potential, on a handful of atoms."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from stores.documents import ModelRef
from workflows import levels
from workflows.distill.card import calibrated
from workflows.distill.label import descent_step
from workflows.distill.report import report
from workflows.distill.seeds import (
    band_image,
    hopping_vacancy,
    host_group,
    is_held_out,
    supercell,
)
from workflows.distill.validate import residuals


def test_states_of_charge_share_a_host_group():
    discharged = ["Li"] * 4 + ["Fe"] * 4 + ["P"] * 4 + ["O"] * 16
    charged = ["Na"] + ["Fe"] * 4 + ["P"] * 4 + ["O"] * 16
    assert host_group(discharged, "Li") == host_group(charged, "Na") == "FePO4"


def test_held_out_share_is_near_what_was_asked():
    share = np.mean([is_held_out(f"host{number}") for number in range(2000)])
    assert share == pytest.approx(0.12, abs=0.02)


def test_band_image_puts_one_ion_on_the_wanted_site():
    record = {
        "species": ["Li"] * 5 + ["O", "O"],
        "frac_coords": [[x, 0, 0] for x in (0.1, 0.2, 0.3, 0.4, 0.5)] + [[0, 0.5, 0], [0, 0, 0.5]],
        "lattice": (10 * np.eye(3)).tolist(),
        "band_sites": [0, 1, 2, 3, 4],
    }
    atoms = band_image(record, 2)
    assert atoms.get_chemical_formula() == "LiO2"
    assert atoms.positions[0, 0] == pytest.approx(3.0)


def test_hopping_vacancy_moves_one_ion_towards_the_hole():
    crystal = supercell(bulk("LiF", "rocksalt", a=4.0, cubic=True), 7.0, 64)
    assert len(crystal) == 64
    vacant = hopping_vacancy(crystal, "Li", np.random.default_rng(1))
    assert len(vacant) == 63
    lithium = [atom.position for atom in vacant if atom.symbol == "Li"]
    ideal = [atom.position for atom in crystal if atom.symbol == "Li"]
    moved = [min(np.linalg.norm(p - q) for q in ideal) for p in lithium]
    assert sum(distance > 1e-6 for distance in moved) <= 1


def test_descent_goes_down_and_not_far():
    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.rattle(0.1, seed=0)
    atoms.calc = EMT()
    energies, before = [atoms.get_potential_energy()], None
    for _ in range(4):
        positions, forces = atoms.get_positions(), atoms.get_forces()
        step = descent_step(positions, forces, before)
        assert np.linalg.norm(step, axis=1).max() <= 0.12 + 1e-9
        before = (positions, forces)
        atoms.positions += step
        energies.append(atoms.get_potential_energy())
    assert (np.diff(energies) < 0).all()


def test_residual_quantile_is_conformal():
    rows = [
        {"system": str(n), "status": "done", "barrier_ev": 1.0 + 0.01 * n} for n in range(1, 20)
    ]
    rows.append({"system": "99", "status": "failed", "barrier_ev": 9.0})
    errors = residuals(rows, {row["system"]: 1.0 for row in rows})
    assert errors["n"] == 19
    assert errors["quantile_90_ev"] == pytest.approx(0.18)  # rank ⌈0.9 × 20⌉ = 18 of 19
    assert errors["mae_ev"] == pytest.approx(0.1)
    assert errors["interval_90_ev"] == pytest.approx([-0.19, 0.0])


def made_up_rows(count: int) -> list[dict]:
    """Barriers 0.1 eV too low, one hop far off, one failed."""
    rows = [
        {
            "system": f"hop{n}",
            "model": "soft-1",
            "sha256": "ab" * 32,
            "structure_class": "SPINEL",
            "status": "done",
            "barrier_ev": 0.3 + 0.02 * n,
            "forward_ev": 0.3,
            "backward_ev": 0.2,
            "host_moved_ang": 0.1,
            "warnings": [],
            "cpu_s": 6.0,
        }
        for n in range(count)
    ]
    rows[3] |= {"barrier_ev": 3.0, "warnings": ["an intermediate minimum"]}
    rows[5] |= {"status": "failed", "kind": "host_rearranged"}
    return rows


def test_report_tells_figures_and_outliers():
    rows = made_up_rows(30)
    literature = {f"hop{n}": 0.4 + 0.02 * n for n in range(30)}
    text = report(rows, literature, {name: value + 0.05 for name, value in literature.items()})
    assert "| band model, on the hops of soft-1 | 29 | 0.050 | 0.050 | +0.050 |" in text
    line = next(line for line in text.splitlines() if "the same without hop3" in line)
    assert "| 28 | 0.100 | 0.100 | -0.100 |" in line
    assert "host_rearranged 1" in text
    assert "3 CPU minutes" in text
    outliers = [line for line in text.splitlines() if "(spinel)" in line]
    assert len(outliers) == 1
    assert "hop3" in outliers[0]
    assert "an intermediate minimum" in outliers[0]


def test_calibrated_card_is_what_the_intervals_come_from(tmp_path, monkeypatch):
    rows = made_up_rows(30)
    card = tmp_path / "soft" / "card.json"
    calibrated(card, rows, {f"hop{n}": 0.4 + 0.02 * n for n in range(30)})
    monkeypatch.setattr(levels, "CARDS", tmp_path)
    levels.model_card.cache_clear()
    try:
        low, high = levels.interval_90("mlip", ModelRef(name="soft-1", sha256="ab" * 32), 3.0)
    finally:
        levels.model_card.cache_clear()
    below, above = json.loads(card.read_text())["barrier_interval_90_ev"]
    assert (low, high) == pytest.approx((3.0 + below, 3.0 + above))
    assert above == pytest.approx(0.1)
    assert json.loads(card.read_text())["barriers"]["failed_or_not_converged"] == 1


@pytest.mark.slow
def test_training_learns_stops_and_goes_on(tmp_path):
    from workflows.distill.train import train

    frames = []
    for seed in range(60):
        atoms = bulk("CuAu", "rocksalt", a=5.2, cubic=True)
        atoms.rattle(0.15, seed=seed)
        atoms.calc = EMT()
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        atoms.info["group"] = f"host{seed}"
        atoms.info["source"] = "bulk"
        frames.append(atoms)
    write(tmp_path / "labels.xyz", frames)
    train([tmp_path / "labels.xyz"], tmp_path / "run", max_steps=40)
    first = json.loads((tmp_path / "run" / "progress.json").read_text())
    train([tmp_path / "labels.xyz"], tmp_path / "run", max_steps=160)
    second = json.loads((tmp_path / "run" / "progress.json").read_text())
    assert (first["steps"], second["steps"]) == (40, 160)

    from workflows.engines.mace import MaceEngine

    engine = MaceEngine(str(tmp_path / "run"))
    errors, sizes = [], []
    for frame in frames:
        atoms = frame.copy()
        atoms.calc = engine.calculator()
        errors.append(np.abs(atoms.get_forces() - frame.get_forces()).mean())
        sizes.append(np.abs(frame.get_forces()).mean())
    assert np.mean(errors) < 0.7 * np.mean(sizes)
