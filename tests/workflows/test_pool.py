import os

import pytest
from pool_work import refuse, square

from workflows.batches import batched
from workflows.pool import available_processes, map_processes


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
    with pytest.raises(ValueError, match="two is refused"):
        list(map_processes(refuse, [1, 2, 3], processes=processes, on_report=print))


def test_nothing_to_do_starts_nothing():
    assert list(map_processes(square, [], processes=2, on_report=print)) == []


def test_the_environment_decides_how_many_processes(monkeypatch):
    monkeypatch.setenv("HOPSCREEN_PROCESSES", "3")
    assert available_processes() == 3
    monkeypatch.delenv("HOPSCREEN_PROCESSES")
    assert available_processes() >= 1


def test_batches_keep_order_and_lose_nothing():
    assert list(batched(range(5), 2)) == [(0, 1), (2, 3), (4,)]
