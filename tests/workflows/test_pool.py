import os
from pathlib import Path

import pytest
from pool_work import die, die_in_company, refuse, square, surroundings

from launch.output import diverted
from workflows.batches import batched
from workflows.pool import WorkerDied, available_processes, map_processes


@pytest.mark.parametrize("processes", [1, 2])
def test_every_item_comes_back_with_its_result_and_its_reports(processes):
    heard = []
    results = dict(map_processes(square, [1, 2, 3], processes=processes, on_report=heard.append))
    assert results == {1: 1, 2: 4, 3: 9}
    if processes > 1:
        assert heard.pop(0) == "starting 2 processes"
    assert sorted(text.split(" in ")[0] for text in heard) == ["at 1", "at 2", "at 3"]
    elsewhere = {int(text.split(" in ")[1]) for text in heard} - {os.getpid()}
    assert bool(elsewhere) == (processes > 1)


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_that_leaves_the_work_ends_the_map(processes):
    with pytest.raises(ValueError, match="two is refused") as caught:
        list(map_processes(refuse, [1, 2, 3], processes=processes, on_report=print))
    if processes > 1:
        assert "in refuse" in caught.value.__notes__[0]


def test_nothing_to_do_starts_nothing():
    assert list(map_processes(square, [], processes=2, on_report=print)) == []


@pytest.mark.parametrize("processes", [1, 2])
def test_one_that_kills_its_process_among_a_hundred(processes):
    items = [*range(1, 51), -7, *range(51, 101)]
    dead = {}

    def on_death(item, cause):
        dead[item] = cause
        return "dead"

    results = dict(
        map_processes(die, items, processes=processes, on_report=print, on_death=on_death)
    )
    assert dead == {-7: "SIGSEGV"}
    assert results == {item: item for item in range(1, 101)} | {-7: "dead"}


def test_a_batch_that_kills_its_process_is_cut_up():
    chunks = [(1, 2, 3), (4, -5, 6), (7, 8, 9)]
    results = list(
        map_processes(
            die,
            chunks,
            processes=2,
            on_report=print,
            on_death=lambda item, cause: cause,
            split=lambda chunk: [(part,) for part in chunk],
        )
    )
    assert sorted(results) == [
        ((-5,), "SIGSEGV"), ((1, 2, 3), 6), ((4,), 4), ((6,), 6), ((7, 8, 9), 24),
    ]  # fmt: skip


def test_what_dies_in_company_is_tried_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    heard = []
    results = dict(map_processes(die_in_company, [1, 2], processes=2, on_report=heard.append))
    assert results == {1: 1, 2: 2}
    assert sum("out" in text and "alone" in text for text in heard) == 2


def test_a_death_that_nobody_answers_for_ends_the_map():
    with pytest.raises(WorkerDied, match=r"-1 killed its process twice \(SIGSEGV\)"):
        list(map_processes(die, [-1, 2], processes=2, on_report=print))


def test_workers_see_what_this_process_sees_now(tmp_path, monkeypatch):
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        monkeypatch.setenv("POOL_TEST", name)
        with Path("log").open("w") as log, diverted(log):
            seen = dict(map_processes(surroundings, [1, 2], processes=2, on_report=print))
        assert seen == {1: (name, str(folder)), 2: (name, str(folder))}
        assert {"printed 1", "printed 2"} <= set(Path("log").read_text().splitlines())


def test_the_environment_decides_how_many_processes(monkeypatch):
    monkeypatch.setenv("HOPSCREEN_PROCESSES", "3")
    assert available_processes() == 3
    monkeypatch.setenv("HOPSCREEN_PROCESSES", "0")
    assert available_processes() == 0
    monkeypatch.delenv("HOPSCREEN_PROCESSES")
    assert available_processes() >= 1
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "1")
    assert available_processes() == 1


def test_batches_keep_order_and_lose_nothing():
    assert list(batched(range(5), 2)) == [(0, 1), (2, 3), (4,)]
