"""How long the stages of a screen take: rough figures in CPU seconds of one server core.

They are there to tell minutes from days before a screen starts, no more. A GPU makes MACE-NEB
ten to a hundred times faster; a DFT calculation varies as much with its cell.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import ceil
from statistics import median
from typing import TYPE_CHECKING, Any

from workflows.sizing import HOST_S, MLIP_ATOM_MS, MLIP_EVALUATIONS, SCORE_S

if TYPE_CHECKING:
    from workflows.spec import ScreenSpec

MODEL_LOAD_S = 8.0
"""Band model and its libraries, once per process."""
DFT_HOP_S = {"demo": 240.0, "other": 24 * 3600.0}
"""One hop; the production presets meet cells of a hundred atoms."""


@dataclass(frozen=True)
class StageCost:
    """What one stage will do.

    Attributes
    ----------
    items
        How many of ``what`` are worked on, at most.
    jobs
        jobflow jobs, those that fan out included.
    wall_s
        Estimate on the given number of processes.
    """

    stage: str
    items: int
    what: str
    jobs: int
    wall_s: float

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


def stage_costs(
    screen: ScreenSpec, *, hosts: int, hops: int, atoms: list[int], batch_hosts: int, processes: int
) -> list[StageCost]:
    """Estimate the stages of a screen.

    Parameters
    ----------
    screen
        The screening file.
    hosts, hops
        Candidates that passed the filters, and all their distinct hops.
    atoms
        Sizes of some of the hops' supercells.
    batch_hosts
        Hosts in one job of the cheap stages.
    processes
        Processes at work at once.
    """
    batches = ceil(hosts / batch_hosts)
    # Each fan-out has a job that makes the others, and one that waits for them.
    costs = [
        StageCost("candidates", hosts, "hosts", 1, 1.0),
        StageCost("hops", hosts, "hosts", 1 + batches, hosts * HOST_S / processes),
        StageCost("score", hops, "hops", batches + 1, MODEL_LOAD_S + hops * SCORE_S / processes),
    ]
    size = median(atoms) if atoms else 0.0
    if screen.mace_neb:
        top = min(screen.mace_neb.top, hops)
        per_atom_s = MLIP_ATOM_MS.get(screen.mace_neb.model, MLIP_ATOM_MS["other"]) / 1000
        one_s = MLIP_EVALUATIONS * per_atom_s * size
        rounds = ceil(top / processes)
        jobs = ceil(top / screen.mace_neb.batch)
        costs.append(StageCost("mace_neb", top, "hops", 2 + jobs, rounds * one_s))
    if screen.dft_neb:
        top = min(screen.dft_neb.top, hops)
        one_s = DFT_HOP_S.get(screen.dft_neb.preset, DFT_HOP_S["other"])
        costs.append(StageCost("dft_neb", top, "hops", 2 + top, top * one_s))
    costs.append(StageCost("rank", hosts, "materials", 1, 0.005 * hosts))
    return costs
