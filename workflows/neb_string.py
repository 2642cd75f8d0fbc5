"""The simplified string method, the last rung of the ladder of recovery."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from workflows.neb_optimisers import largest
from workflows.neb_path import resampled, tangent
from workflows.neb_run import Run
from workflows.neb_types import barriers


def string_relaxed(
    run: Run, images: list[Atoms], rate_ang2_ev: float = 0.02, max_step_ang: float = 0.05
) -> list[Atoms]:
    """Relax a path by the simplified string method, as far as a climbing band needs it.

    Every image goes downhill, then the images are spread evenly along the path (E, Ren and
    Vanden-Eijnden, J. Chem. Phys. 126, 164103 (2007)). Slow and without springs or optimiser
    memory, so hard to upset.
    """
    path = [image.copy() for image in images]
    count = len(path) - 2
    for step in range(run.settings.max_steps):
        answers = run.evaluate(path[1:-1], [f"image-{k:02d}" for k in range(1, count + 1)])
        across = 0.0
        for k, (_, forces) in enumerate(answers, start=1):
            along = tangent(path, k)
            across = max(across, largest(forces - np.vdot(forces, along) * along))
            move = rate_ang2_ev * forces
            path[k].positions += move * min(1.0, max_step_ang / max(largest(move), 1e-12))
        energies = [images[0].get_potential_energy(), *(answer.energy_ev for answer in answers)]
        energies.append(images[-1].get_potential_energy())
        run.report("string", step, across, barriers(np.array(energies))["barrier_ev"])
        path = resampled(path, count)
        if across <= max(run.settings.climb_from_ev_ang, run.settings.fmax_ev_ang):
            break
    return [images[0], *path[1:-1], images[-1]]
