"""``jf flow submit SPEC.yaml``: the screen on a cluster, as a plugin of jobflow-remote.

jobflow-remote finds this module by its entry point, calls :func:`setup_jf_plugin` and hides
whatever goes wrong in it (``jf plugin list -e`` shows it), so it does little.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from em_model.errors import BadInput as ModelBadInput
from stores.backends import PASSWORD, USERNAME
from stores.errors import BadInput

if TYPE_CHECKING:
    from jobflow import Flow
    from jobflow_remote.config.base import Project

    from launch.places import Place
    from stores.screen_store import ScreenStore
    from workflows.launch_options import LaunchOptions
    from workflows.spec import ScreenSpec

COMMAND = "submit"


def setup_jf_plugin() -> None:
    """Add the command to ``jf flow``; doing it twice changes nothing."""
    # Not at the top: jobflow-remote may be in the middle of importing this very module.
    from jobflow_remote.cli.flow import app_flow

    if all(known.name != COMMAND for known in app_flow.registered_commands):
        app_flow.command(name=COMMAND)(submit)


def submit(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="Screening file (YAML).")],
    worker: Annotated[
        str | None,
        typer.Option(
            "--worker",
            "-w",
            help="For the stages to which the file's `launch` gives none; left out: the "
            "project's first.",
        ),
    ] = None,
    project: Annotated[
        str | None, typer.Option("--project", "-p", help="Left out: the selected one.")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            "--store", help="Folder that the worker sees too, or mongodb://host/database."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check, and submit nothing.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Also if the same screen is at work already.")
    ] = False,
) -> None:
    """Submit a hopscreen screen: the same flow that `hopscreen run` runs here.

    Where each stage runs is said by the file's `launch` section.
    """
    try:
        _submit(spec, worker, project, store, dry_run=dry_run, again=again)
    except (BadInput, ModelBadInput) as error:
        typer.echo(f"hopscreen: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(2) from None


def _submit(
    spec_file: Path,
    worker: str | None,
    project: str | None,
    store: str | None,
    *,
    dry_run: bool,
    again: bool,
) -> None:
    from launch.output import quiet
    from launch.places import place_of
    from launch.placing import job_sizes, place_for_jobflow_remote
    from workflows.spec import load_spec

    screen = load_spec(spec_file)
    place = place_of(spec_file.absolute(), screen, store)
    found = _project(project)
    worker = _check_workers(found, worker, screen.launch, place)
    if place.on_server:
        _log_in_as_the_project(found, place)
    with quiet():
        from stores.screen_store import open_store
        from workflows.preflight import preflight
        from workflows.screen import ScreenMaker

        def make_flow(uri: str) -> Flow:
            flow = ScreenMaker.from_spec(screen, uri, job_sizes(screen.launch)).make()
            place_for_jobflow_remote(flow, screen.launch)
            return flow

        preflight(screen)
        if not dry_run:
            with open_store(place.uri) as opened:
                flow = make_flow(opened.uri)
                ids = _claim_and_add(opened, screen, spec_file, flow, found, worker, again=again)
    if dry_run:
        jobs = len(make_flow(place.uri).job_uuids)
        typer.echo(f"{spec_file}: a valid screen of {jobs} jobs at first; nothing was submitted")
        return
    typer.echo(
        f"flow {flow.uuid}: {len(ids)} jobs at first (ids {ids[0]} to {ids[-1]}), more follow"
    )
    typer.echo(f"store: {opened.uri}")
    if os.environ.get(USERNAME):
        typer.echo(
            f"login: jobs need {USERNAME} and {PASSWORD} in their environment; they are not part "
            "of the flow"
        )
    typer.echo(f"watch: hopscreen status --store {opened.uri} --watch; jf flow list")


def _claim_and_add(
    store: ScreenStore,
    screen: ScreenSpec,
    spec_file: Path,
    flow: Flow,
    project: Project,
    worker: str,
    *,
    again: bool,
) -> list[str]:
    """Note the submission in the store and add the flow to the queue; return the jobs' ids."""
    from jobflow_remote import submit_flow
    from pymongo.errors import PyMongoError

    from launch.submissions import submitting

    note = submitting(
        store,
        screen,
        spec_file,
        flow,
        again=again,
        manager="jobflow-remote",
        project=project.name,
    )
    with note:
        try:
            return submit_flow(flow, worker=worker, project=project.name)
        except PyMongoError as error:
            raise BadInput(
                f"project {project.name}: its queue gives no answer ({type(error).__name__}); "
                "`jf project check` shows what is wrong"
            ) from None


def _project(name: str | None) -> Project:
    """Read the project's file.

    Raises
    ------
    BadInput
        There is no such project.
    """
    from jobflow_remote.config import ConfigManager
    from jobflow_remote.config.base import ConfigError

    try:
        return ConfigManager().get_project(name)
    except ConfigError as error:
        raise BadInput(
            f"--project: {error}; `hopscreen init` writes one, `jf project list -w` shows what is "
            "wrong"
        ) from None


def _check_workers(
    project: Project, worker: str | None, launch: LaunchOptions, place: Place
) -> str:
    """Return the name of the worker for what has no place of its own.

    Raises
    ------
    BadInput
        A worker is unknown or cannot see the store, or its batch system does not know a resource.
    """
    known = ", ".join(sorted(project.workers))
    if not known:
        raise BadInput(f"project {project.name}: has no workers; add one to its file")
    first = worker or launch.worker or next(iter(project.workers))
    asked = [("--worker" if worker else "launch.worker", first, launch.of(None).resources)]
    for stage in launch.stages:
        where = launch.of(stage)
        asked.append((f"launch.stages.{stage}", where.worker or first, where.resources))
    for field, name, resources in asked:
        if name not in project.workers:
            raise BadInput(f"{field}: worker '{name}' is unknown; {project.name} has {known}")
        found = project.workers[name]
        try:
            found.get_scheduler_io().generate_header(resources)
        except ValueError as error:
            kind = found.scheduler_type
            said = re.sub(r" Check the template in \S+", "", " ".join(str(error).split()))
            raise BadInput(f"{field}.resources: for {kind} of worker '{name}': {said}") from None
        if not place.on_server and (found.type != "local" or found.scheduler_type != "shell"):
            raise BadInput(
                f"store {place.uri}: is a folder, for jobs of this machine alone, and those of "
                f"worker '{name}' run elsewhere; give --store mongodb://host/database"
            )
    return first


def _log_in_as_the_project(project: Project, place: Place) -> None:
    """Take the login from the project's queue, where that is on the store's server."""
    from pymongo.uri_parser import parse_uri

    queue = project.queue.store
    host, port = queue.get("host", "localhost"), int(queue.get("port", 27017))
    if os.environ.get(USERNAME) or not queue.get("username") or "://" in host:
        return
    if place.uri.startswith("mongodb://") and (host, port) in parse_uri(place.uri)["nodelist"]:
        os.environ[USERNAME], os.environ[PASSWORD] = queue["username"], queue.get("password", "")
