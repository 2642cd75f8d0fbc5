"""``run``, ``status`` and ``retry``: a whole screen."""

from __future__ import annotations

import contextlib
import json
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from launch.output import Format, print_json, print_rich, quiet, say, streams
from launch.places import OptionalStore, Place, StoreOption, place_of, short

if TYPE_CHECKING:
    from jobflow import Flow

    from launch.look import Look
    from launch.run_log import RunLog
    from launch.runner import RunOutcome
    from stores.screen_store import ScreenStore
    from workflows.spec import ScreenSpec

SpecArgument = Annotated[Path, typer.Argument(metavar="SPEC", help="Screening file (YAML).")]


class Stage(StrEnum):
    """Stages at which something can fail."""

    CANDIDATES = "candidates"
    HOPS = "hops"
    SCORE = "score"
    MACE_NEB = "mace_neb"
    DFT_NEB = "dft_neb"


SHOWN = 20
"""Materials in the table at the end of a run."""


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(run)
    app.command()(status)
    app.command()(retry)


def run(spec: SpecArgument, store: OptionalStore = None) -> None:
    """Run a screen here, or go on with it.

    Each result is kept the moment that it is there. Kill it whenever you like: the same command
    goes on, and nothing is computed twice. A changed file (other budgets, another temperature)
    reuses what it can.

    ```
    hopscreen run screen_li.yaml
    hopscreen run screen_li.yaml --store mongodb://host/li_screen
    ```
    """
    started = time.monotonic()
    outcome = None
    with quiet():
        from stores.errors import NoStore
        from stores.screen_store import open_store
        from workflows.spec import load_spec

        screen = load_spec(spec)
        place = place_of(spec, screen, store)
        log = _LogOf(screen, spec, place)
        begun = finished = False
        with contextlib.suppress(NoStore), open_store(place.uri, create=False) as opened:
            begun, finished = log(opened).begun, log(opened).finished
        if not finished:
            outcome = _run_here(screen, place, log, begun=begun)
        with open_store(place.uri, create=False) as opened:
            report = _report(opened, screen, place)
    if outcome is None:
        say(f"everything is done already (looked it up in {time.monotonic() - started:.1f} s)")
    _tell(report, outcome)
    if outcome and not outcome.finished:
        say(_failure(outcome, spec))
        raise typer.Exit(1)


def _run_here(screen: ScreenSpec, place: Place, log: _LogOf, *, begun: bool) -> RunOutcome:
    # Imported here and not above: a screen that is done needs neither torch nor jobflow.
    from launch.runner import run_flow
    from stores.screen_store import open_store
    from workflows.progress import Progress

    if not begun:
        # All that can be refused is refused before a store is made or touched.
        with Progress("check").track():
            from workflows.preflight import preflight

            preflight(screen)

    def make_flow() -> Flow:
        from workflows.screen import ScreenMaker

        return ScreenMaker.from_spec(screen, opened.uri).make()

    with open_store(place.uri) as opened:
        return run_flow(make_flow, log(opened), jobstore=opened.jobstore(), folder=place.folder)


class _LogOf:
    """The memory of a screening file's run, in whichever store."""

    def __init__(self, screen: ScreenSpec, spec_file: Path, place: Place) -> None:
        from launch.run_log import screen_run_id

        self.run_id = screen_run_id(screen)
        self.about = {
            "name": screen.name,
            "screen_id": screen.screen_id,
            "spec_file": str(spec_file.absolute()),
            "folder": str(place.folder),
        }

    def __call__(self, store: ScreenStore) -> RunLog:
        from launch.run_log import RunLog

        return RunLog(store.runs, self.run_id, self.about)


def _report(store: ScreenStore, screen: ScreenSpec, place: Place) -> dict[str, Any]:
    from stores import queries
    from stores.documents import CandidateDoc

    ids = store.ids(CandidateDoc, {"screens": screen.screen_id})
    mine = {"candidate_id": {"$in": ids}}
    return {
        "docs": queries.ranked(store, SHOWN, mine),
        "count": queries.count_ranked(store, mine),
        "summary": queries.summary(store, screen.screen_id),
        "uri": store.uri if place.on_server else short(place.folder),
    }


def _tell(report: dict[str, Any], outcome: RunOutcome | None) -> None:
    from launch.views import failure_lines, funnel_table, rank_table, refusal_lines

    docs, count, uri = report["docs"], report["count"], report["uri"]
    print_rich(funnel_table(report["summary"]))
    failures = report["summary"].failures
    for line in (*refusal_lines(report["summary"]), *failure_lines(failures)):
        say(line)
    if failures:
        say(f"to try these again: hopscreen retry --store {uri}")
    if docs:
        print_rich(rank_table(docs))
    if count > len(docs):
        say(f"{count - len(docs)} more: hopscreen rank --store {uri}")
    if outcome:
        from workflows.progress import duration

        kept = f", {outcome.replayed} were done already" if outcome.replayed else ""
        say(f"{outcome.ran} jobs in {duration(outcome.wall_s)}{kept}")
    say(f"store: {uri}")
    if docs:
        say(f"next:  hopscreen show {docs[0].candidate_id} --store {uri}")


def _failure(outcome: RunOutcome, spec_file: Path) -> str:
    first = outcome.failed[0]
    message = " ".join(str(first.error).split())
    jobs = "1 job" if len(outcome.failed) == 1 else f"{len(outcome.failed)} jobs"
    return (
        f"hopscreen: {jobs} failed, first {first.name}: {type(first.error).__name__}: {message}; "
        f"see {short(first.folder)}/job.log, then go on with: hopscreen run {spec_file}"
    )


def status(
    store: StoreOption,
    format_: Annotated[Format, typer.Option("--format")] = Format.TABLE,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Look again and again, until all is done.")
    ] = False,
    every: Annotated[
        float, typer.Option("--every", min=0.1, help="Seconds between two looks.")
    ] = 10.0,
) -> None:
    """Say how far a screen is: per stage done, running and waiting; failures by cause.

    The same for runs on this machine, with jobflow-remote and with FireWorks. Rates are those of
    the last hours.

    ```
    hopscreen status --store screen_li.store
    hopscreen status --store mongodb://host/li_screen --watch
    ```
    """
    if watch:
        _watch(store, format_, every)
        return
    look = _look(store)
    if format_ is Format.JSON:
        print_json(look.as_dict())
        return
    print_rich(*look.views())
    if look.summary.failures:
        say(f"to try what failed again: hopscreen retry --store {store}")


def _watch(store: str, format_: Format, every: float) -> None:
    """Show the state until all is done: in place on a terminal, one below the other elsewhere."""
    from rich.console import Console, Group
    from rich.live import Live

    target = streams().out
    if format_ is Format.JSON or not target.isatty():
        while True:
            look = _look(store)
            if format_ is Format.JSON:
                print(json.dumps(look.as_dict(), ensure_ascii=False), file=target, flush=True)
            else:
                print_rich(f"{time.strftime('%H:%M:%S')}", *look.views())
            if look.over:
                return
            time.sleep(every)
    with Live(console=Console(file=target, highlight=False), auto_refresh=False) as live:
        while True:
            look = _look(store)
            live.update(Group(*look.views()), refresh=True)
            if look.over:
                return
            time.sleep(every)


def _look(store: str) -> Look:
    with quiet():
        from launch.look import look_at
        from stores.screen_store import open_store

        with open_store(store, create=False) as opened:
            return look_at(opened)


def retry(
    store: StoreOption,
    stage: Annotated[
        Stage | None, typer.Option(help="Only this stage; all where left out.")
    ] = None,
) -> None:
    """Put what failed back to waiting; the next `run` tries it again.

    Failed hosts and estimates are forgotten; what succeeded stays.

    ```
    hopscreen retry --store screen_li.store --stage mace_neb
    hopscreen run screen_li.yaml
    ```
    """
    with quiet():
        from launch.lock import only_run
        from launch.retrying import forget_failures
        from launch.run_log import all_runs
        from launch.submissions import submissions
        from stores.screen_store import open_store

        with open_store(store, create=False) as opened:
            runs, submitted = list(all_runs(opened.runs)), list(submissions(opened))
        with contextlib.ExitStack() as held, open_store(store) as opened:
            for folder in sorted({run["folder"] for run in runs}):
                if Path(folder).exists():
                    held.enter_context(only_run(Path(folder)))
            counts = forget_failures(opened, stage)
    forgotten = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    if not forgotten:
        say("nothing has failed" + (f" at {stage}" if stage else ""))
        return
    say(f"waiting again: {forgotten}")
    for file in sorted({run["spec_file"] for run in runs}):
        say(f"next:  hopscreen run {short(Path(file))}")
    for one in submitted:
        command = "jf flow submit" if one["manager"] == "jobflow-remote" else "hopscreen fireworks"
        say(f"next:  {command} {short(Path(one['spec_file']))} --store {store}")
