"""What ``check`` looks at when there are too many hosts to look at each."""

from launch import check_command
from launch.check_command import EvenSample


def test_a_sample_is_evenly_spread_and_bounded(monkeypatch):
    monkeypatch.setattr(check_command, "SAMPLE", 10)
    sample = EvenSample()
    for number in range(10_007):
        sample.add(number)
        assert len(sample.kept) <= 20
        assert len(sample.kept) >= min(sample.count, 10)
    assert sample.count == 10_007
    steps = {b - a for a, b in zip(sample.kept, sample.kept[1:], strict=False)}
    assert sample.kept[0] == 0
    assert len(steps) == 1
    assert sample.kept[-1] >= 10_007 - steps.pop()


def test_few_are_all_kept():
    sample = EvenSample()
    for number in range(700):
        sample.add(number)
    assert sample.kept == list(range(700))
