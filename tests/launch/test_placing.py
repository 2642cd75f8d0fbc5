"""Each stage's jobs get their place, those that are made on the way too."""

from __future__ import annotations

import json

import pytest
from jobflow import JobStore
from maggma.stores import MemoryStore
from monty.json import MontyDecoder, MontyEncoder

from launch.placing import cores_of, job_sizes, place_for_fireworks, place_for_jobflow_remote
from workflows.launch_options import LaunchOptions
from workflows.screen import ScreenMaker
from workflows.sizing import JobSize, merge_batches
from workflows.spec import ScreenSpec

LAUNCH = LaunchOptions.model_validate(
    {
        "worker": "login",
        "stages": {
            "hops": {"worker": "cluster", "resources": {"time": "1:00"}, "category": "cheap"},
            "score": {"worker": "gpu", "environment": ["module load cuda"], "target_minutes": 30},
        },
    }
)


def settings_of_jobs(place) -> dict[str, dict]:
    """Place a flow, send it through JSON as managers do, run its second job; return all configs."""
    spec = ScreenSpec.model_validate(
        {"name": "a", "working_ion": "Li", "candidates": {"source": "catalogue"}}
    )
    flow = ScreenMaker.from_spec(spec, "unused").make()
    place(flow, LAUNCH)
    flow = json.loads(json.dumps(flow, cls=MontyEncoder), cls=MontyDecoder)
    found = {job.name: job.config.manager_config for job in flow.jobs}
    fan = flow.jobs[1]
    fan.function_kwargs["batches"] = [["a", "b"]]
    store = JobStore(MemoryStore())
    store.connect()
    made = fan.run(store=store).replace
    return found | {job.name: job.config.manager_config for job in made.jobs}


def test_jobflow_remote():
    found = settings_of_jobs(place_for_jobflow_remote)
    assert found["find_candidates"] == found["rank"] == {"worker": "login"}
    assert found["score_all"] == {"worker": "login"}
    assert found["enumerate_hops"] == {"worker": "cluster", "resources": {"time": "1:00"}}
    assert found["score"]["worker"] == "gpu"
    assert found["score"]["exec_config"].pre_run == "module load cuda"


def test_fireworks():
    found = settings_of_jobs(place_for_fireworks)
    assert found["rank"] == {"_fworker": "login"}
    assert found["enumerate_hops"] == {
        "_fworker": "cluster",
        "_category": "cheap",
        "_queueadapter": {"time": "1:00"},
    }
    assert found["score"]["_queueadapter"] == {"pre_rocket": "module load cuda"}


@pytest.mark.parametrize(
    ("resources", "cores"),
    [
        ({}, 1),
        ({"cpus_per_task": 8}, 8),
        ({"ntasks": 4, "cpus_per_task": "2"}, 8),
        ({"select": "select=2:ncpus=16:ngpus=1"}, 16),
        ({"model": "smp 12"}, 12),
    ],
)
def test_cores(resources, cores):
    assert cores_of(resources) == cores


def test_jobs_of_the_wanted_length():
    assert job_sizes(LAUNCH) == {"score": JobSize(30, 1)}
    assert JobSize(30, processes=8).count(item_s=60) == 240
    assert JobSize(1).count(item_s=3600) == 1
    batches = [["a", "b"], ["c", "d"], ["e", "f"]]
    assert merge_batches(batches, 2) == [["a", "d"], ["e", "f"]]
