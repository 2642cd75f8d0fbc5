"""The local runner: jobflow's rules, a memory, and no job twice."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import tiny_flow
from jobflow import Flow, run_locally
from jobflow.core.store import JobStore
from maggma.stores import MemoryStore

from launch.lock import is_running, only_run
from launch.run_log import RunLog, jobs_of
from stores.errors import BadInput
from stores.screen_store import open_store

JOBS = 11  # the ten below and the one with which jobflow hands on what replaced 'fan'
EXECUTIONS = Counter(
    ["number 1", "fan 3", "number 100", "number 101", "number 102", "add 100+101+102"]
)
EXECUTIONS.update(["aside 40", "number 41", "number 42", "add 1+303+40"])


@pytest.fixture(autouse=True)
def notes(tmp_path, monkeypatch):
    path = tmp_path / "notes"
    monkeypatch.setenv("TINY_NOTES", str(path))
    return path


def executions(notes: Path) -> Counter[str]:
    return Counter(notes.read_text().splitlines())


def test_runs_a_dynamic_flow_as_jobflow_does(tmp_path, notes):
    outcome = tiny_flow.run(tmp_path)
    assert (outcome.ran, outcome.replayed, outcome.finished) == (JOBS, 0, True)
    assert executions(notes) == EXECUTIONS

    jobstore = JobStore(MemoryStore())
    run_locally(tiny_flow.make_flow(), store=jobstore, log=False, ensure_success=True)
    assert tiny_flow.outputs_in(tmp_path) == tiny_flow.outputs(jobstore)


def test_second_run_executes_nothing(tmp_path, notes):
    tiny_flow.run(tmp_path)
    before = tiny_flow.outputs_in(tmp_path)

    def not_again() -> Flow:
        raise AssertionError("the flow was made twice")

    outcome = tiny_flow.run(tmp_path, make=not_again)
    assert (outcome.ran, outcome.replayed, outcome.finished) == (0, JOBS, True)
    assert executions(notes) == EXECUTIONS
    assert tiny_flow.outputs_in(tmp_path) == before


def test_failed_job_stops_its_children_only_and_is_tried_again(tmp_path, notes):
    obstacle = tmp_path / "obstacle"
    obstacle.touch()

    def make() -> Flow:
        failing = tiny_flow.fail_while(str(obstacle))
        return Flow([failing, tiny_flow.add([failing.output, 1]), tiny_flow.number(5)])

    outcome = tiny_flow.run(tmp_path, make=make)
    assert not outcome.finished
    assert outcome.ran == 1
    [failed] = outcome.failed
    assert failed.name == "fail_while"
    assert "the file is still there" in (failed.folder / "job.log").read_text()
    with open_store(str(tmp_path / "store"), create=False) as store:
        states = {doc["name"]: doc["state"] for doc in jobs_of(store.runs, "tiny")}
        assert states == {"fail_while": "failed", "number": "done"}
        assert not RunLog(store.runs, "tiny").finished

    obstacle.unlink()
    outcome = tiny_flow.run(tmp_path, make=make)
    assert (outcome.ran, outcome.replayed, outcome.finished) == (2, 1, True)
    assert executions(notes) == Counter({"fail_while": 2, "number 5": 1, "add 7+1": 1})


def test_each_job_works_in_a_folder_of_its_own(tmp_path):
    here = Path.cwd()
    tiny_flow.run(tmp_path)
    assert Path.cwd() == here
    names = sorted(path.name for path in (tmp_path / "jobs").iterdir())
    assert len(names) == JOBS
    assert names[0].startswith("001_number_")
    assert names[-1].startswith("011_add_")


def test_library_chatter_goes_to_the_job_log(tmp_path, capfd):
    tiny_flow.run(tmp_path, make=lambda: Flow([tiny_flow.chatter()]))
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    [log] = (tmp_path / "jobs").glob("*/job.log")
    assert {"printed", "warned", "from a child"} <= set(log.read_text().splitlines())


def test_interrupt_is_passed_on_and_the_run_goes_on_later(tmp_path, notes, monkeypatch):
    monkeypatch.setenv("TINY_INTERRUPT", "number 101")
    with pytest.raises(KeyboardInterrupt):
        tiny_flow.run(tmp_path)
    monkeypatch.delenv("TINY_INTERRUPT")
    outcome = tiny_flow.run(tmp_path)
    assert outcome.finished
    assert executions(notes) == EXECUTIONS + Counter(["number 101"])


def test_bad_input_inside_a_job_comes_out(tmp_path):
    with pytest.raises(BadInput, match="no such thing"):
        tiny_flow.run(tmp_path, make=lambda: Flow([tiny_flow.refuse("no such thing")]))


def test_one_run_at_a_time(tmp_path):
    assert not is_running(tmp_path)
    with only_run(tmp_path):
        assert is_running(tmp_path)
        with pytest.raises(BadInput, match=f"process {os.getpid()}"):
            tiny_flow.run(tmp_path)
    assert not is_running(tmp_path)
    assert tiny_flow.run(tmp_path).finished


def test_a_killed_run_lets_go_of_its_folder(tmp_path):
    process = _start(tmp_path, tmp_path / "notes", pause_s=5)
    _wait_until(lambda: is_running(tmp_path))
    process.kill()
    process.join()
    assert not is_running(tmp_path)


def test_twenty_kills_change_nothing(tmp_path, notes):
    """SIGKILL at 20 random points: no finished job runs again, the outputs are the same."""
    chance = random.Random(20)
    undisturbed = tmp_path / "undisturbed"
    tiny_flow.run(undisturbed)
    kills, finished_between = 0, 0
    while kills < 20:
        notes.unlink()
        folder = tmp_path / f"killed_{kills}"
        finished: set[str] = set()
        while kills < 20:
            before = len(_lines(notes))
            process = _start(folder, notes, pause_s=0.2)
            # Counted in jobs begun, not in seconds, which a busy machine stretches.
            jobs = before + chance.choice([0, 1, 1, 2])
            _wait_until(lambda: len(_lines(notes)) >= jobs or process.exitcode is not None)  # noqa: B023
            time.sleep(chance.uniform(0, 0.15))
            if process.exitcode is not None:
                break
            process.kill()
            process.join()
            kills += 1
            assert not finished & set(_lines(notes)[before:]), "a finished job ran again"
            finished = _finished(folder)
            finished_between += len(finished)
        assert tiny_flow.run(folder).finished
        assert tiny_flow.outputs_in(folder) == tiny_flow.outputs_in(undisturbed)
        assert set(executions(notes)) == set(EXECUTIONS)
    assert finished_between > 20, "the kills came too early to mean anything"


def _lines(notes: Path) -> list[str]:
    return notes.read_text().splitlines() if notes.exists() else []


def _start(folder: Path, notes: Path, pause_s: float) -> BaseProcess:
    # Forked from a process that has everything imported, so that kills hit the work itself.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tiny_flow"])
    process = context.Process(target=tiny_flow.run_in_process, args=(folder, notes, pause_s))
    process.start()
    return process


def _wait_until(condition, timeout_s: float = 30.0) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.01)


def _finished(folder: Path) -> set[str]:
    """What the store holds as finished, as the notes call it."""
    if not (folder / "store").exists():
        return set()
    with open_store(str(folder / "store")) as store:
        return {
            tag
            for doc in store.runs.query({"kind": "job", "state": "done"})
            for tag in (Path(doc["folder"]) / "job.log").read_text().splitlines()
        }
