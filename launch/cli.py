"""The ``hopscreen`` command: what it is made of, and how it ends.

Exit codes: 0 success; 1 a run that failed; 2 bad input, with one line on stderr; 130 or 143
when it was interrupted. Commands import what they need inside: ``--help`` has to be instant.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from types import FrameType
from typing import Annotated, NoReturn

import typer

from em_model.errors import BadInput as ModelBadInput
from launch import (
    backtest_command,
    check_command,
    dashboard_command,
    dft_inputs_command,
    fireworks_command,
    init_command,
    output,
    report_command,
    result_commands,
    screen_commands,
    structure_commands,
)
from launch.em_commands import em_app
from stores.errors import BadInput
from workflows import progress

HELP = """Find fast ion conductors.

A screen goes from candidate hosts to a ranking of materials by a funnel of ever dearer and
truer estimates of the migration barrier: band model, MACE-NEB, DFT-NEB.

    hopscreen check screen_li.yaml    # what would be done, how long it takes
    hopscreen run screen_li.yaml      # do it; after a crash, go on with it
    hopscreen rank --store screen_li.store --top 10
    hopscreen show LiFePO4:Li --store screen_li.store

One structure, without a screen:

    hopscreen predict LiFePO4.cif --ion Li
"""

app = typer.Typer(
    name="hopscreen",
    help=HELP,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (
    check_command,
    screen_commands,
    structure_commands,
    result_commands,
    dashboard_command,
    report_command,
    dft_inputs_command,
    fireworks_command,
    init_command,
    backtest_command,
):
    module.add_to(app)
app.add_typer(em_app, name="em")

_ANYWHERE = {"--debug", "--quiet", "-q"}
"""Options that may stand before or after the command."""


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hopscreen {version('hopscreen')}")
        raise typer.Exit


@app.callback()
def _global_options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks and what libraries print.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and end."
        ),
    ] = False,
) -> None:
    output.streams().debug = debug
    progress.configure(stream=output.streams().err, quiet=quiet)


def run_command(arguments: Sequence[str]) -> int:
    """Run one command line; return the exit code."""
    words = list(arguments) or ["--help"]
    end = words.index("--") if "--" in words else len(words)
    leading = [word for word in words[:end] if word in _ANYWHERE]
    words = leading + [word for i, word in enumerate(words) if i >= end or word not in _ANYWHERE]
    debug = "--debug" in leading
    if not debug:
        output.silence_libraries()
    try:
        with output.private_streams(), output.naming_broken_documents():
            return _answer_errors(words, debug)
    except BrokenPipeError:
        # The reader (head, less) has seen enough. Nothing may be written on the way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    finally:
        progress.configure()


def _answer_errors(words: list[str], debug: bool) -> int:
    try:
        result = app(words, prog_name="hopscreen", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except BrokenPipeError:
        raise
    except SystemExit as end:
        # The way of typer's when the reader of a pipe has gone.
        return end.code if isinstance(end.code, int) else 1
    except BaseException as error:
        if debug:
            traceback.print_exc(file=output.streams().err)
        message, code = _explain(error, words, debug)
        output.say(f"hopscreen: {' '.join(message.split())}")
        return code


def _explain(error: BaseException, words: list[str], debug: bool) -> tuple[str, int]:
    """Return what to say of an error, and the exit code."""
    match error:
        case typer.TyperException():
            context = getattr(error, "ctx", None)
            command = context.command_path if context else "hopscreen"
            message = error.format_message() or "missing command"
            return f"{message} (see '{command} --help')", 2
        case BadInput() | ModelBadInput():
            return str(error), 2
        case Stopped():
            again = f"; what is finished is kept; go on with: hopscreen {' '.join(words)}"
            return f"stopped{again if 'run' in words else ''}", 128 + error.signal_number
        case _:
            hint = "" if debug else " (--debug shows where)"
            return f"{type(error).__name__}: {error}{hint}", 1


class Stopped(BaseException):
    """A signal asked the process to end.

    Not a KeyboardInterrupt, which typer would answer by itself and in silence.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__()
        self.signal_number = signal_number


def _stop(signal_number: int, frame: FrameType | None) -> NoReturn:
    # Ctrl-C reaches the workers too; a batch system's SIGTERM only this process.
    for child in multiprocessing.active_children():
        child.terminate()
    raise Stopped(signal_number)


def main() -> NoReturn:
    """Run the command line of this process."""
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(run_command(sys.argv[1:]))
