"""The whole screen as one jobflow graph.

    candidates ──► hops ──► score ──► select ──► MACE-NEB ──► select ──► DFT-NEB ──► rank

Cheap stages run in batches of hosts, so the number of jobs grows with the number of dear
calculations and not with the number of hops. Jobs read from and write to the store by
themselves and pass on nothing but small summaries; a result is kept the moment that it is there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jobflow import CURRENT_JOB, Flow, Job, Maker, Response, job

from stores.documents import Level
from stores.screen_store import ScreenStore, open_store
from workflows.batches import batched
from workflows.neb_plan import neb_plan
from workflows.sizing import HOPS_PER_HOST, HOST_S, SCORE_S, JobSize, merge_batches, mlip_hop_s
from workflows.spec import NEB_STAGES, ScreenSpec
from workflows.stages.candidates import BATCH, find_candidates
from workflows.stages.hops import enumerate_hops
from workflows.stages.neb import dft_neb, mace_neb
from workflows.stages.planned import keep_plan
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
    sizes
        ``score`` or ``mace_neb`` → :class:`JobSize`, for stages whose jobs shall last so long.
    """

    name: str = "screen"
    spec: dict[str, Any] = field(default_factory=dict)
    store_uri: str = ""
    sizes: dict[str, JobSize] = field(default_factory=dict)

    @classmethod
    def from_spec(
        cls, spec: ScreenSpec, store_uri: str, sizes: dict[str, JobSize] | None = None
    ) -> ScreenMaker:
        """Return the maker for a validated screening file."""
        # Where things run is no part of what is run: jobs do not know it.
        content = spec.model_dump(mode="json", exclude={"store", "launch"})
        return cls(name=spec.name, spec=content, store_uri=store_uri, sizes=sizes or {})

    def make(self) -> Flow:
        """Return the flow; batches and selected hops become jobs once they are known."""
        common = {"spec": self.spec, "store_uri": self.store_uri}
        found = find_candidates(**common)
        scored = score_all(batches=found.output["batches"], size=self._size("score"), **common)
        jobs: list[Flow | Job] = [found, scored]
        for level, section in NEB_STAGES.items():
            if self.spec.get(section):
                climbed = climb(
                    level=level, size=self._size(section), after=jobs[-1].output, **common
                )
                climbed.name = f"select_{section}"
                jobs.append(climbed)
        jobs.append(rank(after=jobs[-1].output, **common))
        return Flow(jobs, output=jobs[-1].output, name=self.name)

    def _size(self, stage: str) -> dict[str, Any] | None:
        size = self.sizes.get(stage)
        return size.as_dict() if size else None


@job
def score_all(
    batches: list[list[str]],
    spec: dict[str, Any],
    store_uri: str,
    size: dict[str, Any] | None = None,
) -> Response:
    """Fan out: per batch of hosts one job for the hops, and one to score them.

    ``batches`` holds the first and last candidate id of each.
    """
    if size:
        host_s = HOST_S + HOPS_PER_HOST * SCORE_S
        batches = merge_batches(batches, max(1, JobSize(**size).count(host_s) // BATCH))
    common = {"spec": spec, "store_uri": store_uri}
    jobs: list[Flow | Job] = []
    for first, last in batches:
        enumerated = enumerate_hops(first=first, last=last, **common)
        jobs += [enumerated, score(first=first, last=last, after=enumerated.output, **common)]
    return _replace_by(jobs, outputs_of=jobs[1::2])


@job
def climb(
    level: Level,
    spec: dict[str, Any],
    store_uri: str,
    size: dict[str, Any] | None = None,
    after: Any = None,
) -> Response:
    """Select hops for ``mlip`` or ``dft`` and fan out: a job per batch, or per DFT hop."""
    common = {"spec": spec, "store_uri": store_uri}
    screen = ScreenSpec.model_validate(spec)
    chosen = select(screen, store_uri, level)
    with open_store(store_uri) as store:
        keep_plan(store, screen, level, chosen.hop_ids)
        batch = _batch_size(store, screen, size)
    if level == "dft":
        jobs: list[Flow | Job] = [dft_neb(hop_id=hop_id, **common) for hop_id in chosen.hop_ids]
    else:
        jobs = [mace_neb(hop_ids=list(ids), **common) for ids in batched(chosen.hop_ids, batch)]
    if not jobs:
        return Response(output=[])
    return _replace_by(jobs, outputs_of=jobs)


def _batch_size(store: ScreenStore, screen: ScreenSpec, size: dict[str, Any] | None) -> int:
    """Return how many hops a MACE-NEB job takes: by its length, or as the file says."""
    if screen.mace_neb is None:
        return 1
    if size is None:
        return screen.mace_neb.batch
    identity = neb_plan(screen, "mlip").engine.identity()
    return JobSize(**size).count(mlip_hop_s(store, screen.mace_neb.model, identity.sha256))


@job
def collect(outputs: list[Any]) -> list[Any]:
    """End a fan-out: what comes after it waits for all of its jobs."""
    return outputs


def _replace_by(jobs: list[Flow | Job], outputs_of: list[Flow | Job]) -> Response:
    """Put jobs in the place of the present one, whose output their outputs become.

    jobflow would end them with a job that also runs where one of them has failed. Then the next
    stage would select from what happens to be there, and a manager refuses to run a job again
    whose children have run. So they end with one that waits until the failed job has been run.
    """
    last = collect([one.output for one in outputs_of])
    if (present := CURRENT_JOB.job) is not None:
        last.set_uuid(present.uuid)
        last.index = present.index + 1
    return Response(replace=Flow([*jobs, last]))
