"""How many hops or hosts make a job of the wanted length.

A batch system takes seconds to minutes to start a job, and ends one that lasts too long. So a job
should last minutes to hours, whatever the potential, the cells and the machine: times are taken
from estimates of the same kind that the store has already, and guessed only while it has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from stores.documents import BarrierDoc
from stores.screen_store import ScreenStore

HOST_S = 0.05
"""Hops of one host, CPU seconds."""
SCORE_S = 0.02
"""Graph and inference of one hop, CPU seconds."""
HOPS_PER_HOST = 3
"""Distinct hops of one host, as many as a typical one has."""
MLIP_ATOM_MS = {"mini": 1.2, "other": 12.0}
"""One energy and force evaluation with MACE, per atom: measured for `mini`, assumed for others."""
MLIP_EVALUATIONS = 300
"""Evaluations of one hop: both ends relaxed, then the band."""
TYPICAL_ATOMS = 110
"""Atoms of a hop's supercell where nothing is known."""
ENOUGH = 5
"""Estimates that make a measured time better than a guess."""


@dataclass(frozen=True)
class JobSize:
    """How long a job of one stage should last, and on how many processes.

    Attributes
    ----------
    minutes
        Wanted length.
    processes
        Processes that the job's resources give it.
    """

    minutes: float
    processes: int = 1

    def count(self, item_s: float) -> int:
        """Return how many items of ``item_s`` seconds on one process fill such a job."""
        return max(1, round(self.minutes * 60 * self.processes / item_s))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, which a job may hold."""
        return asdict(self)


def mlip_hop_s(store: ScreenStore, model: str, sha256: str | None) -> float:
    """Estimate the seconds that one MACE-NEB takes on one process.

    The median of the times of earlier ones with this model, or a guess by its name.
    """
    criteria = {"level": "mlip", "status": "done", "settings.model_sha256": sha256}
    found = store.find(BarrierDoc, criteria, sort={"last_updated": -1}, limit=200)
    times = [doc.provenance.wall_s for doc in found if doc.provenance.wall_s]
    if len(times) >= ENOUGH:
        return median(times)
    per_atom_s = MLIP_ATOM_MS.get(model, MLIP_ATOM_MS["other"]) / 1000
    return MLIP_EVALUATIONS * per_atom_s * TYPICAL_ATOMS


def merge_batches(batches: Sequence[Sequence[str]], size: int) -> list[list[str]]:
    """Join so many neighbouring batches, each a first and last candidate id, into one."""
    groups = [batches[i : i + size] for i in range(0, len(batches), size)]
    return [[group[0][0], group[-1][1]] for group in groups]
