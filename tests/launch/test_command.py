"""The command as a process: help, completion, speed, signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.main import get_command

from launch.cli import app, run_command

BIN = Path(sys.executable).parent
COMMANDS = sorted(get_command(app).commands)


def _hopscreen(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "launch", *words],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
    )


def test_version(capfd):
    assert run_command(["--version"]) == 0
    assert capfd.readouterr().out == f"hopscreen {version('hopscreen')}\n"


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_names_every_command(capfd, words):
    assert run_command(words) == 0
    out, err = capfd.readouterr()
    assert err == ""
    for command in COMMANDS:
        assert command in out


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "em"])
def test_help_of_a_command_shows_an_example(capfd, command):
    assert run_command([command, "--help"]) == 0
    assert f"hopscreen {command}" in capfd.readouterr().out


def test_help_is_instant():
    def once() -> float:
        start = os.times().children_user
        assert _hopscreen("--help").returncode == 0
        return os.times().children_user - start

    # CPU time, which other work on the machine does not stretch; the best of three.
    assert min(once() for _ in range(3)) < 0.5


def test_help_imports_no_heavy_library():
    code = (
        "import sys; from launch.cli import run_command; run_command(['run', '--help']);"
        "print([n for n in ('torch', 'pymatgen', 'jobflow', 'ase', 'maggma') if n in sys.modules],"
        "file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


def test_completion_offers_commands():
    done = _hopscreen(
        _HOPSCREEN_COMPLETE="complete_bash", COMP_WORDS="hopscreen ra", COMP_CWORD="1"
    )
    assert done.stdout.split() == ["rank"]


def test_completion_installs_and_works_in_bash(tmp_path):
    home = os.environ | {"HOME": str(tmp_path), "PATH": f"{BIN}:{os.environ['PATH']}"}
    # The shell is found as the parent process: `true` keeps bash from stepping aside.
    install = "hopscreen --install-completion; true"
    done = subprocess.run(["bash", "-c", install], env=home, capture_output=True, check=True)
    assert done.stderr == b""
    ask = (
        "source ~/.bashrc; COMP_WORDS=(hopscreen ret); COMP_CWORD=1;"
        "$(complete -p hopscreen | sed 's/.*-F \\([^ ]*\\) .*/\\1/') hopscreen; echo $COMPREPLY"
    )
    done = subprocess.run(["bash", "-c", ask], env=home, capture_output=True, text=True, check=True)
    assert done.stdout == "retry\n"


@pytest.mark.parametrize(("signal_sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_in_one_line(tmp_path, signal_sent, code):
    script = tmp_path / "sleepy.py"
    script.write_text(
        "import signal, sys, time\n"
        "from launch import cli\n"
        "@cli.app.command()\n"
        "def run(spec: str) -> None:\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
        "sys.argv = ['hopscreen', 'run', 'a.yaml']\n"
        "cli.main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal_sent)
    _, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert err.count("\n") == 1
    assert "go on with: hopscreen run a.yaml" in err


def test_an_unforeseen_error_is_one_line_too(capfd, monkeypatch):
    def broken(*args: object) -> None:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr("launch.result_commands.quiet", broken)
    assert run_command(["rank", "--store", "x"]) == 1
    err = capfd.readouterr().err
    assert err == "hopscreen: ZeroDivisionError: two lines (--debug shows where)\n"


def test_works_from_a_folder_that_is_not_the_project(tmp_path):
    done = subprocess.run(
        [str(BIN / "hopscreen"), "--version"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("hopscreen ")
