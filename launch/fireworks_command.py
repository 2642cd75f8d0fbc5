"""``fireworks``: the same flow on a FireWorks LaunchPad."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from launch.output import quiet, say
from launch.places import OptionalStore, place_of
from stores.errors import BadInput

if TYPE_CHECKING:
    from fireworks import LaunchPad


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(fireworks)


def fireworks(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="Screening file (YAML).")],
    store: OptionalStore = None,
    launchpad: Annotated[
        Path | None,
        typer.Option("--launchpad", help="LaunchPad file; left out: as FireWorks finds it."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also if the same screen is at work already.")
    ] = False,
) -> None:
    """Add a screen to a FireWorks LaunchPad: the same flow that `run` runs here.

    Workers need a job store in their jobflow configuration, and must see the screen's store.
    The file's `launch` section gives each stage its FireWorker (worker), category, and queue
    parameters (resources, environment).

    ```
    hopscreen fireworks screen_li.yaml --store mongodb://host/li_screen
    rlaunch rapidfire
    ```
    """
    with quiet():
        from jobflow.managers.fireworks import flow_to_workflow

        from launch.placing import job_sizes, place_for_fireworks
        from launch.submissions import submitting
        from stores.screen_store import open_store
        from workflows.preflight import preflight
        from workflows.screen import ScreenMaker
        from workflows.spec import load_spec

        screen = load_spec(spec)
        place = place_of(spec.absolute(), screen, store)
        pad = _launchpad(launchpad)
        _check_job_store()
        preflight(screen)
        with open_store(place.uri) as opened:
            uri = opened.uri
            flow = ScreenMaker.from_spec(screen, uri, job_sizes(screen.launch)).make()
            place_for_fireworks(flow, screen.launch)
            where = str(launchpad.absolute()) if launchpad else None
            note = submitting(
                opened,
                screen,
                spec,
                flow,
                again=again,
                manager="fireworks",
                launchpad_file=where,
            )
            with note as about:
                ids = sorted(pad.add_wf(flow_to_workflow(flow, metadata=about)).values())
    say(f"{screen.name}: {len(ids)} Fireworks at first ({ids[0]} to {ids[-1]}), more follow")
    say(f"store: {uri}")
    say(f"next:  rlaunch rapidfire; watch: hopscreen status --store {uri} --watch")


def _launchpad(file: Path | None) -> LaunchPad:
    from fireworks import LaunchPad
    from pymongo.errors import PyMongoError

    if file is not None and not file.is_file():
        raise BadInput(f"--launchpad: {file}: no such file; `lpad init` makes one")
    pad = LaunchPad.from_file(str(file)) if file else LaunchPad.auto_load()
    try:
        ready = pad.fw_id_assigner.find_one({})
    except PyMongoError as error:
        raise BadInput(
            f"LaunchPad {pad.host}: no answer ({type(error).__name__}); give --launchpad a file "
            "with the right host"
        ) from None
    if ready is None:
        raise BadInput(f"LaunchPad {pad.host}/{pad.name}: is not set up; do so with `lpad reset`")
    return pad


def _check_job_store() -> None:
    """Refuse jobflow's default store: a Firework cannot read what another kept in memory."""
    from jobflow import SETTINGS
    from maggma.stores import MemoryStore

    if type(SETTINGS.JOB_STORE.docs_store) is MemoryStore:
        raise BadInput(
            f"JOB_STORE of {SETTINGS.CONFIG_FILE}: is kept in memory, which Fireworks do not "
            "share; set a MongoStore there"
        )
