"""Train the student: a short loop on mace-torch's own model, made for one core and a clock.

``mace_run_train`` writes its model only at the end; this loop writes its averaged weights every
few minutes, goes on where it was stopped, and lowers its learning rate by the time spent.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.io import read
from safetensors.torch import save_file

from workflows.distill.seeds import is_held_out
from workflows.engines.mace import build_model

log = logging.getLogger(__name__)

ARCHITECTURE: dict[str, Any] = {
    "r_max": 4.5,
    "num_bessel": 8,
    "num_polynomial_cutoff": 5,
    "max_ell": 2,
    "num_interactions": 2,
    "hidden_irreps": "32x0e",
    "mlp_irreps": "16x0e",
    "correlation": 2,
    "first_interaction": "RealAgnosticInteractionBlock",
}

ENERGY_WEIGHT, FORCE_WEIGHT = 1.0, 10.0
HUBER = 0.02
"""Huber width in eV/atom and eV/Å: strained frames must not drown the relaxed ones."""


def read_frames(
    paths: list[Path], max_force_ev_ang: float = 15.0
) -> tuple[list[Atoms], list[Atoms]]:
    """Labelled frames as (training, held out), split by host group."""
    train: list[Atoms] = []
    held_out: list[Atoms] = []
    for path in paths:
        for frame in read(path, ":"):
            if np.abs(frame.get_forces()).max() < max_force_ev_ang:
                (held_out if is_held_out(str(frame.info["group"])) else train).append(frame)
    return train, held_out


def train(
    labels: list[Path],
    out: Path,
    *,
    minutes: float = math.inf,
    max_steps: int | None = None,
    lr: float = 0.008,
    batch_atoms: int = 64,
) -> None:
    """Train for ``minutes``, or ``max_steps``, in all, over as many runs as it takes.

    ``out`` receives ``config.json``, ``model.safetensors`` (averaged weights) and
    ``checkpoint.pt``; an existing checkpoint is continued.
    """
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    out.mkdir(parents=True, exist_ok=True)
    frames, held_out = read_frames(labels)
    checkpoint_file = out / "checkpoint.pt"
    state = (
        torch.load(checkpoint_file, weights_only=True, map_location="cpu")
        if checkpoint_file.is_file()
        else None
    )
    if state is None:
        counts = Counter(z for frame in frames for z in set(frame.numbers.tolist()))
        numbers = sorted(z for z, n in counts.items() if n >= 5)
    else:
        numbers = json.loads((out / "config.json").read_text())["atomic_numbers"]
    frames, held_out = (
        [f for f in x if set(f.numbers) <= set(numbers)] for x in (frames, held_out)
    )
    log.info(
        "%d training frames, %d held out, %d elements", len(frames), len(held_out), len(numbers)
    )
    data = [to_data(frame, numbers) for frame in frames]
    check = [to_data(frame, numbers) for frame in held_out[:: max(1, len(held_out) // 60)]]
    if state is None:
        neighbours = float(np.mean([d.edge_index.shape[1] / d.num_nodes for d in data]))
        config = {**ARCHITECTURE, "avg_num_neighbors": neighbours, "atomic_numbers": numbers}
        (out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        model: Any = build_model(config)
        energies = model.atomic_energies_fn.atomic_energies
        energies.copy_(atomic_energies(frames, numbers).view_as(energies))
        forces = np.concatenate([frame.get_forces() for frame in frames])
        model.scale_shift.scale.fill_(float(np.sqrt((forces**2).mean())))
    else:
        model = build_model(json.loads((out / "config.json").read_text()))
        model.load_state_dict(state["model"])
    optimiser = torch.optim.Adam(model.parameters(), lr=lr)
    average = {name: value.clone() for name, value in model.state_dict().items()}
    elapsed, steps = 0.0, 0
    if state is not None:
        optimiser.load_state_dict(state["optimiser"])
        average, elapsed, steps = state["average"], state["elapsed"], state["steps"]
    last, saved, losses = time.monotonic(), elapsed, []

    def spent() -> float:
        """Share of the time, or of the steps, that is spent."""
        return steps / max_steps if max_steps is not None else elapsed / (60 * minutes)

    while spent() < 1:
        for batch in batches(data, batch_atoms, rng):
            rate = lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, spent()))))
            for group in optimiser.param_groups:
                group["lr"] = rate * min(1.0, (steps + 1) / 200)
            optimiser.zero_grad()
            loss = loss_of(model, batch)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            if torch.isfinite(norm):
                optimiser.step()
            steps += 1
            decay = min(0.998, (1 + steps) / (10 + steps))
            with torch.no_grad():
                for name, value in model.state_dict().items():
                    if value.is_floating_point():
                        average[name].lerp_(value, 1 - decay)
            losses.append(float(loss.detach()))
            elapsed, last = elapsed + time.monotonic() - last, time.monotonic()
            if elapsed - saved > 300 or spent() >= 1:
                state = {
                    "model": model.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "average": average,
                    "elapsed": elapsed,
                    "steps": steps,
                }
                torch.save(state, checkpoint_file)
                (out / "progress.json").write_text(
                    json.dumps({"elapsed_s": elapsed, "steps": steps}) + "\n"
                )
                student = build_model(json.loads((out / "config.json").read_text()))
                student.load_state_dict(average)
                save_file(
                    {k: v.contiguous().clone() for k, v in average.items()},
                    out / "model.safetensors",
                )
                errors = evaluate(student, check)
                log.info(
                    "%.1f min, %d steps (%.1f epochs), lr %.1e, loss %.4f, held out: "
                    "force MAE %.0f meV/Å (rms label %.0f), energy MAE %.1f meV/atom",
                    elapsed / 60, steps, steps * batch_atoms / sum(map(len, frames)), rate,
                    np.mean(losses), 1000 * errors["force_mae_ev_ang"],
                    1000 * errors["force_rms_label_ev_ang"], 1000 * errors["energy_mae_ev_atom"],
                )  # fmt: skip
                losses, saved, last = [], elapsed, time.monotonic()
            if spent() >= 1:
                break


def to_data(frame: Atoms, numbers: list[int]) -> Any:
    """mace-torch's graph of a labelled frame, in float32."""
    from mace import data
    from mace.tools import AtomicNumberTable

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        configuration = data.Configuration(
            atomic_numbers=frame.numbers,
            positions=frame.positions,
            properties={"energy": frame.get_potential_energy(), "forces": frame.get_forces()},
            property_weights={"energy": 1.0, "forces": 1.0},
            cell=frame.cell[:],
            pbc=tuple(frame.pbc),
        )
        return data.AtomicData.from_config(
            configuration, z_table=AtomicNumberTable(numbers), cutoff=ARCHITECTURE["r_max"]
        )
    finally:
        torch.set_default_dtype(before)


def batches(data: list[Any], batch_atoms: int, rng: np.random.Generator) -> Iterator[Any]:
    """Shuffled batches of about ``batch_atoms`` atoms."""
    from mace.tools import torch_geometric

    batch: list[Any] = []
    for index in rng.permutation(len(data)):
        batch.append(data[index])
        if sum(item.num_nodes for item in batch) >= batch_atoms:
            yield torch_geometric.Batch.from_data_list(batch)
            batch = []
    if batch:
        yield torch_geometric.Batch.from_data_list(batch)


def loss_of(model: torch.nn.Module, batch: Any) -> torch.Tensor:
    """Huber loss on energy per atom and force components."""
    out = model(batch.to_dict(), training=True)
    atoms = (batch.ptr[1:] - batch.ptr[:-1]).to(out["energy"].dtype)
    huber = torch.nn.functional.huber_loss
    energy = huber(out["energy"] / atoms, batch.energy / atoms, delta=HUBER)
    forces = huber(out["forces"], batch.forces, delta=HUBER)
    return (ENERGY_WEIGHT * energy + FORCE_WEIGHT * forces) / HUBER


def atomic_energies(frames: list[Atoms], numbers: list[int]) -> torch.Tensor:
    """Energy per element by ridge regression of total energies on composition; shape (1, z)."""
    counts = np.array([[(frame.numbers == z).sum() for z in numbers] for frame in frames], float)
    energies = np.array([frame.get_potential_energy() for frame in frames])
    sizes = counts.sum(axis=1)
    counts, energies = counts / sizes[:, None], energies / sizes
    solved = np.linalg.solve(
        counts.T @ counts + 1e-3 * np.eye(len(numbers)), counts.T @ (energies - energies.mean())
    )
    return torch.tensor(solved + energies.mean(), dtype=torch.float32)[None]


def evaluate(model: torch.nn.Module, data: list[Any]) -> dict[str, float]:
    """Errors against the labels: force MAE and energy MAE per atom."""
    from mace.tools import torch_geometric

    force_errors, labels, energy_errors = [], [], []
    for item in data:
        batch = torch_geometric.Batch.from_data_list([item])
        out = model(batch.to_dict(), training=False)
        force_errors.append((out["forces"] - batch.forces).detach().flatten())
        labels.append(batch.forces.flatten())
        energy_errors.append(float(out["energy"].detach() - batch.energy) / item.num_nodes)
    errors, forces = torch.cat(force_errors), torch.cat(labels)
    return {
        "frames": len(data),
        "force_mae_ev_ang": float(errors.abs().mean()),
        "force_rmse_ev_ang": float(errors.square().mean().sqrt()),
        "force_rms_label_ev_ang": float(forces.square().mean().sqrt()),
        "energy_mae_ev_atom": float(np.abs(energy_errors).mean()),
    }
