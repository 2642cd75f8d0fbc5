"""The whole screen as one jobflow graph.

    candidates ──► hops ──► score ──► select ──► MACE-NEB ──► select ──► DFT-NEB ──► rank

Cheap stages run in batches of hosts, so the number of jobs grows with the number of dear
calculations and not with the number of hops. Jobs read from and write to the store by
themselves and pass on nothing but small summaries; a result is kept the moment that it is there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jobflow import Flow, Job, Maker, Response, job

from stores.documents import Level
from workflows.spec import NEB_STAGES, ScreenSpec
from workflows.stages.candidates import find_candidates
from workflows.stages.hops import enumerate_hops
from workflows.stages.neb import dft_neb, mace_neb
from workflows.stages.rank import rank
from workflows.stages.score import score
from workflows.stages.selection import select


@dataclass
class ScreenMaker(Maker):
    """Make the flow of a screen.

    Parameters
    ----------
    name
        Name of the flow.
    spec
        The screening file's content, as :meth:`ScreenSpec.model_dump` gives it in JSON mode.
    store_uri
        Where results are kept; without credentials, which come from the environment.
    """

    name: str = "screen"
    spec: dict[str, Any] = field(default_factory=dict)
    store_uri: str = ""

    @classmethod
    def from_spec(cls, spec: ScreenSpec, store_uri: str) -> ScreenMaker:
        """Return the maker for a validated screening file."""
        content = spec.model_dump(mode="json", exclude={"store"})
        return cls(name=spec.name, spec=content, store_uri=store_uri)

    def make(self) -> Flow:
        """Return the flow; batches and selected hops become jobs once they are known."""
        common = {"spec": self.spec, "store_uri": self.store_uri}
        found = find_candidates(**common)
        scored = score_all(batches=found.output["batches"], **common)
        jobs: list[Flow | Job] = [found, scored]
        for level, section in NEB_STAGES.items():
            if self.spec.get(section):
                climbed = climb(level=level, after=jobs[-1].output, **common)
                climbed.name = section
                jobs.append(climbed)
        jobs.append(rank(after=jobs[-1].output, **common))
        return Flow(jobs, output=jobs[-1].output, name=self.name)


@job
def score_all(batches: list[list[str]], spec: dict[str, Any], store_uri: str) -> Response:
    """Fan out: per batch of hosts one job for the hops, and one to score them.

    ``batches`` holds the first and last candidate id of each.
    """
    common = {"spec": spec, "store_uri": store_uri}
    jobs: list[Flow | Job] = []
    for first, last in batches:
        enumerated = enumerate_hops(first=first, last=last, **common)
        jobs += [enumerated, score(first=first, last=last, after=enumerated.output, **common)]
    return _replace_by(jobs, outputs_of=jobs[1::2])


@job
def climb(level: Level, spec: dict[str, Any], store_uri: str, after: Any = None) -> Response:
    """Select hops for ``mlip`` or ``dft`` and fan out: a job per batch, or per DFT hop."""
    common = {"spec": spec, "store_uri": store_uri}
    screen = ScreenSpec.model_validate(spec)
    chosen = select(screen, store_uri, level)
    if level == "dft":
        jobs: list[Flow | Job] = [dft_neb(hop_id=hop_id, **common) for hop_id in chosen.hop_ids]
    else:
        size = screen.mace_neb.batch if screen.mace_neb else 1
        batches = [chosen.hop_ids[i : i + size] for i in range(0, len(chosen.hop_ids), size)]
        jobs = [mace_neb(hop_ids=list(batch), **common) for batch in batches]
    if not jobs:
        return Response(output=[])
    return _replace_by(jobs, outputs_of=jobs)


def _replace_by(jobs: list[Flow | Job], outputs_of: list[Flow | Job]) -> Response:
    return Response(replace=Flow(jobs, output=[one.output for one in outputs_of]))
