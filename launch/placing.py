"""Send each stage of a flow where its screening file's ``launch`` section says.

jobflow carries the settings of a job on to the jobs that it makes, chosen by their function: so
placing the few jobs that a flow begins with places all that follow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from workflows.launch_options import LaunchOptions, Stage, StageLaunch
from workflows.sizing import JobSize

if TYPE_CHECKING:
    from jobflow import Flow

_SIZED: tuple[Stage, ...] = ("score", "mace_neb")
"""Stages that put several items into one job."""

_CORES = ("cpus_per_task", "ntasks_per_node", "ntasks", "processes_per_node", "processes")
"""Keys of resources by which a job gets cores on a node."""


def stage_functions() -> dict[Stage, Callable[..., Any]]:
    """Return the job function of each stage."""
    from workflows.stages.candidates import find_candidates
    from workflows.stages.hops import enumerate_hops
    from workflows.stages.neb import dft_neb, mace_neb
    from workflows.stages.rank import rank
    from workflows.stages.score import score

    return {
        "candidates": find_candidates,
        "hops": enumerate_hops,
        "score": score,
        "mace_neb": mace_neb,
        "dft_neb": dft_neb,
        "rank": rank,
    }


def job_sizes(launch: LaunchOptions) -> dict[str, JobSize]:
    """Return how long the jobs of each stage shall last, where the file says so."""
    sizes: dict[str, JobSize] = {}
    for stage in _SIZED:
        where = launch.of(stage)
        if where.target_minutes:
            sizes[stage] = JobSize(where.target_minutes, cores_of(where.resources or {}))
    return sizes


def cores_of(resources: Mapping[str, Any]) -> int:
    """Return the cores on one node that a job gets by these resources; 1 where none is said."""
    asked = [int(resources[key]) for key in _CORES if str(resources.get(key, "")).isdigit()]
    # PBS and Grid Engine: select "1:ncpus=8", parallel environment "smp 8".
    for key, pattern in (("select", r"ncpus=(\d+)"), ("model", r"\b(\d+)$")):
        asked += [int(n) for n in re.findall(pattern, str(resources.get(key, "")))[:1]]
    cores = 1
    for number in asked:
        cores *= number
    return max(1, cores)


def place_for_jobflow_remote(flow: Flow, launch: LaunchOptions) -> None:
    """Give each stage's jobs their worker, resources and shell lines."""
    from jobflow_remote import set_run_config
    from jobflow_remote.config.base import ExecutionConfig

    _by_stage_alone(flow)
    for where, function in _places(launch):
        lines = where.environment
        set_run_config(
            flow,
            function_filter=function,  # type: ignore[arg-type]
            worker=where.worker,
            resources=where.resources,
            exec_config=ExecutionConfig(pre_run="\n".join(lines)) if lines else None,
        )


def place_for_fireworks(flow: Flow, launch: LaunchOptions) -> None:
    """Give each stage's Fireworks their worker, category and queue parameters.

    ``worker`` becomes ``_fworker``, ``resources`` and ``environment`` become ``_queueadapter``,
    which ``qlaunch`` writes into the job script in reservation mode.
    """
    _by_stage_alone(flow)
    for where, function in _places(launch):
        queue: dict[str, Any] = dict(where.resources or {})
        if where.environment:
            queue["pre_rocket"] = "\n".join(where.environment)
        wanted = {
            "_fworker": where.worker,
            "_category": where.category,
            "_queueadapter": queue or None,
        }
        settings = {f"manager_config->{key}": value for key, value in wanted.items() if value}
        if settings:
            flow.update_config(
                {"_set": settings},
                function_filter=function,  # type: ignore[arg-type]
                dynamic=True,
                dict_mod=True,
            )


def _by_stage_alone(flow: Flow) -> None:
    """Keep jobflow from handing the place of a job to those that it makes, whatever their stage."""
    own = {"_set": {"pass_manager_config": False}}
    flow.update_config(own, dynamic=True, dict_mod=True)


def _places(
    launch: LaunchOptions,
) -> list[tuple[StageLaunch, Callable[..., Any] | None]]:
    """Return what holds for all jobs, then what holds for each stage's."""
    places: list[tuple[StageLaunch, Callable[..., Any] | None]] = [(launch.of(None), None)]
    places += [
        (launch.of(stage), function)
        for stage, function in stage_functions().items()
        if stage in launch.stages
    ]
    return places
