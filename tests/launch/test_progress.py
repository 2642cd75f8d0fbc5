"""Progress: lines elsewhere, bars on a terminal, never a long silence."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import termios
import threading
import time

import pytest

from workflows import progress
from workflows.progress import Progress, duration


@pytest.fixture
def lines():
    stream = io.StringIO()
    progress.configure(stream=stream)
    yield lambda: stream.getvalue().splitlines()
    progress.configure()


def test_a_short_piece_of_work_is_one_line(lines):
    with Progress("hops").track(3, "hosts") as step:
        for _ in range(3):
            step()
    [line] = lines()
    assert line.startswith("hops: 3 hosts in ")


def test_a_long_step_is_named_again_and_again(lines, monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE_S", 0.3)
    stage = Progress("mace_neb")
    with stage.track(4, "hops") as step:
        step(2)
        stage.say("LiFePO4 3.01 Å: step 12")
        time.sleep(2.2)
    seen = [line for line in lines() if "step 12" in line]
    assert len(seen) >= 2
    assert "2/4 hops" in seen[0]
    assert "left" in seen[0]


def test_unnamed_work_is_silent_until_something_is_said(lines, monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE_S", 0.3)
    with Progress("check").track():
        time.sleep(1.2)
        assert lines() == []
        Progress("check").say("loading")
        time.sleep(1.2)
    assert lines()[0].endswith(": loading")


def test_said_outside_of_any_work_is_said_at_once(lines):
    Progress("rank").say("12 materials ranked")
    assert lines() == ["rank: 12 materials ranked"]


def test_many_reports_do_not_flood_a_log(lines):
    stage = Progress("score")
    with stage.track(1000, "hops") as step:
        for n in range(1000):
            stage.say(f"hop {n}")
            step()
    assert len(lines()) == 1


def test_unfinished_work_claims_no_end(lines):
    def break_off() -> None:
        with Progress("hops").track(3, "hosts") as step:
            step()
            raise KeyError

    with pytest.raises(KeyError):
        break_off()
    assert lines() == []


def test_nested_work_and_the_silent_outer_one(lines):
    with Progress("job").track(), Progress("score").track(1, "hops") as step:
        step()
    [line] = lines()
    assert line.startswith("score: 1 hops")


def test_quiet(capfd):
    progress.configure(quiet=True)
    try:
        with Progress("hops").track(1, "hosts") as step:
            step()
        Progress("hops").say("nothing")
    finally:
        progress.configure()
    assert capfd.readouterr() == ("", "")


def test_bars_on_a_terminal():
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    shown: list[bytes] = []
    reader = threading.Thread(target=_read_all, args=(ours, shown))
    reader.start()
    with os.fdopen(theirs, "w", encoding="utf-8") as terminal:
        progress.configure(stream=terminal)
        try:
            stage = Progress("mace_neb")
            with stage.track(2, "hops") as step:
                step()
                stage.say("LiFePO4 [3.01 Å]")
                time.sleep(0.3)
                step()
        finally:
            progress.configure()
    reader.join()
    os.close(ours)
    text = b"".join(shown).decode()
    assert "mace_neb hops" in text
    assert "1/2" in text
    assert "LiFePO4 [3.01 Å]" in text
    assert "mace_neb: 2 hops in" in text


def _read_all(descriptor: int, into: list[bytes]) -> None:
    # Linux answers EIO, not an end of file, when the other side of a terminal has closed.
    with contextlib.suppress(OSError):
        while part := os.read(descriptor, 4096):
            into.append(part)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (61, "1 min 1 s"), (7860, "2 h 11 min")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text
