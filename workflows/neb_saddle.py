"""Whether the highest image of a relaxed path is a saddle, and in which direction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workflows.neb_modes import softest
from workflows.neb_path import tangent
from workflows.neb_run import BudgetSpent, Run
from workflows.neb_types import barriers

if TYPE_CHECKING:
    from workflows.neb_relax import RelaxedPath

SADDLE_STEP_ANG, SADDLE_CALLS = 0.05, 6
"""Displacement, and force calls at most, that tell a saddle."""


def look_at_saddle(run: Run, path: RelaxedPath) -> None:
    """Measure the curvature of the highest image, along the path and where that leads.

    One force call, as a rule. A path of few images may cross a saddle askew, so that it takes
    some more to see the direction in which the saddle is highest. Nothing is measured where the
    path is highest at an end, or the budget is spent.
    """
    top = int(path.energies_ev.argmax())
    if top in path.ends:
        return
    image = path.images[top]
    stiffness = run.stiffness(image, f"image-{top:02d}", image.get_forces(), SADDLE_STEP_ANG)
    starts = tangent(path.images, top)[None]
    try:
        found = softest(stiffness, starts, below=0.0, calls=SADDLE_CALLS)
    except BudgetSpent:
        return
    run.report("saddle", 0, path.fmax_ev_ang, barriers(path.energies_ev)["barrier_ev"])
    path.curvatures_ev_ang2[top], path.modes[top] = found.curvature_ev_ang2, found.mode
