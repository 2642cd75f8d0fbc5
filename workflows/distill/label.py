"""Label seeds with CHGNet: short steepest-descent chains, every call of which is a label."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from workflows.distill.seeds import Seed

log = logging.getLogger(__name__)

MAX_FORCE_EV_ANG = 30.0
"""Beyond this two atoms overlap: nothing that a band ever visits."""


def label(
    seeds: Iterable[Seed], out: Path, *, budget_s: float, steps: int = 3, batch_atoms: int = 150
) -> int:
    """Append labelled frames to the extended-XYZ file ``out`` until the time is spent.

    Each seed starts a chain of ``steps`` Barzilai–Borwein descent steps (IMA J. Numer. Anal. 8,
    141 (1988)), so the set holds strained geometries and what they relax towards.

    Returns
    -------
    int
        Number of frames written.
    """
    from chgnet.model import CHGNet
    from pymatgen.io.ase import AseAtomsAdaptor

    teacher = CHGNet.load(use_device="cpu", verbose=False)
    started, written = time.monotonic(), 0

    def evaluate(frames: list[Atoms]) -> list[Atoms]:
        structures = [AseAtomsAdaptor.get_structure(frame) for frame in frames]
        predictions = teacher.predict_structure(structures, task="ef", batch_size=len(frames))
        if isinstance(predictions, dict):
            predictions = [predictions]
        for frame, prediction in zip(frames, predictions, strict=True):
            frame.calc = SinglePointCalculator(
                frame, energy=float(prediction["e"]) * len(frame), forces=prediction["f"]
            )
        return frames

    def flush(chain_seeds: list[Seed]) -> int:
        frames = [seed.atoms.copy() for seed in chain_seeds]
        infos = [{"source": seed.source, "group": seed.group} for seed in chain_seeds]
        previous: list[tuple[np.ndarray, np.ndarray] | None] = [None] * len(frames)
        kept: list[Atoms] = []
        for step in range(steps):
            labelled = evaluate([frame.copy() for frame in frames])
            alive = []
            for index, frame in enumerate(labelled):
                forces = frame.get_forces()
                if not np.isfinite(forces).all() or np.abs(forces).max() > MAX_FORCE_EV_ANG:
                    continue
                alive.append(index)
                frame.info.update(infos[index], step=step)
                kept.append(frame)
                before = previous[index]
                previous[index] = (frame.positions.copy(), forces.copy())
                frames[index].positions += descent_step(frame.positions, forces, before)
            frames = [frames[i] for i in alive]
            infos = [infos[i] for i in alive]
            previous = [previous[i] for i in alive]
            if not frames:
                break
        if kept:
            write(out, kept, format="extxyz", append=True)
        return len(kept)

    batch: list[Seed] = []
    for seed in seeds:
        if time.monotonic() - started > budget_s:
            break
        batch.append(seed)
        if sum(len(item.atoms) for item in batch) >= batch_atoms:
            written += flush(batch)
            batch = []
            log.info("%d frames after %.0f s", written, time.monotonic() - started)
    return written + (flush(batch) if batch else 0)


def descent_step(
    positions: np.ndarray, forces: np.ndarray, before: tuple[np.ndarray, np.ndarray] | None
) -> np.ndarray:
    """Displacements in Å along the forces, at most 0.12 Å per atom."""
    length = 0.02
    if before is not None:
        moved, change = positions - before[0], before[1] - forces
        curvature = float((moved * change).sum())
        if curvature > 1e-8:
            length = float(np.clip((moved**2).sum() / curvature, 0.01, 0.1))
    step = length * forces
    return step * min(1.0, 0.12 / max(np.linalg.norm(step, axis=1).max(), 1e-12))
