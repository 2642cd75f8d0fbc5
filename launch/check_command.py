"""``check``: what a screening file asks for, before anything is started."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from launch.output import Format, print_json, print_rich, quiet, say

if TYPE_CHECKING:
    from stores.documents import CandidateDoc
    from workflows.spec import ScreenSpec

SAMPLE = 400
"""At least so many hosts are looked at closely; the rest is judged by these."""


class EvenSample:
    """A stream's evenly spread part: sources are often sorted, and memory stays flat.

    Attributes
    ----------
    count
        Documents seen.
    kept
        All of them up to twice :data:`SAMPLE`, then at least that many.
    """

    def __init__(self) -> None:
        self.count = 0
        self.kept: list[CandidateDoc] = []
        self._stride = 1

    def add(self, doc: CandidateDoc) -> None:
        """See one more."""
        if self.count % self._stride == 0:
            self.kept.append(doc)
        self.count += 1
        if len(self.kept) > 2 * SAMPLE:
            self.kept = self.kept[::2]
            self._stride *= 2


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(check)


def check(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="Screening file (YAML).")],
    format_: Annotated[Format, typer.Option("--format")] = Format.TABLE,
) -> None:
    """Validate a screening file; say what a run would do, and how long it would take.

    Models and engines are looked for, candidates are asked of their source and filtered, hops
    are counted. Nothing is written. The times are estimates.

    ```
    hopscreen check screen_li.yaml
    ```
    """
    with quiet():
        from workflows.progress import Progress
        from workflows.spec import load_spec

        screen = load_spec(spec)
        with Progress("check").track():
            # After the file has been found good: this import brings torch.
            from workflows.preflight import preflight

            preflight(screen)
        content = _look(screen)
    if format_ is Format.JSON:
        print_json(content)
    else:
        _tell(spec, content)


def _look(screen: ScreenSpec) -> dict[str, Any]:
    from launch.costs import stage_costs
    from workflows.pool import available_processes
    from workflows.progress import Progress
    from workflows.stages.candidates import BATCH, candidate_docs, nothing_left

    hosts = EvenSample()
    refused: Counter[str] = Counter()
    reasons: dict[str, str] = {}
    doc = None
    with Progress("candidates").track(what="hosts") as step:
        for _, doc in candidate_docs(screen):
            if doc and doc.status == "ok":
                hosts.add(doc)
            else:
                name = (doc.rejected_by if doc else None) or "failed"
                refused[name] += 1
                if doc and doc.error:
                    reasons.setdefault(name, f"{doc.material_id}: {doc.error.message}")
            step()
    if not hosts.count:
        raise nothing_left(refused, doc)
    hops, atoms, without = _sample_hops(screen, hosts.kept)
    scale = hosts.count / len(hosts.kept)
    processes = max(1, available_processes())
    costs = stage_costs(
        screen,
        hosts=hosts.count,
        hops=round(hops * scale),
        atoms=atoms,
        batch_hosts=BATCH,
        processes=processes,
    )
    return {
        "name": screen.name,
        "candidates": hosts.count,
        "refused": dict(sorted(refused.items())),
        "refused_examples": dict(sorted(reasons.items())),
        "hops": round(hops * scale),
        "hops_counted_on": len(hosts.kept),
        "hosts_not_percolating": round(without * scale),
        "jobs": sum(cost.jobs for cost in costs),
        "processes": processes,
        "stages": [cost.as_dict() for cost in costs],
    }


def _sample_hops(screen: ScreenSpec, hosts: list[CandidateDoc]) -> tuple[int, list[int], int]:
    """Return the number of hops, their supercells' sizes, and how many hosts do not percolate."""
    from workflows.bands import supercell_size
    from workflows.hops import distinct_hops
    from workflows.hosts import host_of
    from workflows.neb_plan import hop_recipe
    from workflows.progress import Progress
    from workflows.stages.hops import mode_of

    hops = without = 0
    atoms: list[int] = []
    recipe = hop_recipe(screen.hops)
    with Progress("hops").track(total=len(hosts), what="hosts") as step:
        for doc in hosts:
            host = host_of(doc)
            found = distinct_hops(
                host,
                screen.working_ion,
                dimension=screen.hops.dimension,
                max_length_ang=screen.hops.max_length,
            )
            hops += len(found.hops)
            without += found.dimension < screen.hops.dimension
            if found.hops:
                size = supercell_size(host, found.hops[0], recipe, mode_of(doc, screen.hops))
                atoms += [size] if size else []
            step()
    return hops, atoms, without


def _tell(spec: Path, content: dict[str, Any]) -> None:
    from launch.output import table
    from workflows.progress import duration

    refused = sum(content["refused"].values())
    print_rich(
        f"{spec}: a valid screen.",
        f"{content['candidates']} candidates" + (f" ({refused} refused)" if refused else "")
        + f", {content['hops']} distinct hops"
        + (
            f" (judged by {content['hops_counted_on']} hosts)"
            if content["hops_counted_on"] < content["candidates"]
            else ""
        )
        + f", {content['jobs']} jobs",
    )  # fmt: skip
    for name, reason in content["refused_examples"].items():
        say(f"refused: {content['refused'][name]} by {name}, e.g. {reason}")
    if content["hosts_not_percolating"]:
        say(f"{content['hosts_not_percolating']} hosts do not percolate; see hops.max_length")
    made = table("stage", "at most", "jobs", "estimated time", left=("stage",))
    for stage in content["stages"]:
        made.add_row(
            stage["stage"],
            f"{stage['items']} {stage['what']}",
            str(stage["jobs"]),
            duration(stage["wall_s"]),
        )
    print_rich(made)
    total = sum(stage["wall_s"] for stage in content["stages"])
    say(f"about {duration(total)} on {content['processes']} processes, a rough estimate")
    say(f"next:  hopscreen run {spec}")
