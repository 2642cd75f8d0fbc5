"""``jf flow submit SPEC.yaml``: the screen on a cluster, as a plugin of jobflow-remote.

jobflow-remote finds this module by its entry point, calls :func:`setup_jf_plugin` and hides
whatever goes wrong in it (``jf plugin list -e`` shows it), so it does little.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from em_model.errors import BadInput as ModelBadInput
from stores.errors import BadInput

if TYPE_CHECKING:
    from launch.places import Place

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
        str | None, typer.Option("--worker", "-w", help="Left out: the project's first.")
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
) -> None:
    """Submit a hopscreen screen: the same flow that `hopscreen run` runs here."""
    try:
        _submit(spec, worker, project, store, dry_run)
    except (BadInput, ModelBadInput) as error:
        typer.echo(f"hopscreen: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(2) from None


def _submit(
    spec_file: Path, worker: str | None, project: str | None, store: str | None, dry_run: bool
) -> None:
    from launch.output import quiet
    from launch.places import place_of
    from workflows.spec import load_spec

    screen = load_spec(spec_file)
    place = place_of(spec_file.absolute(), screen, store)
    worker = _check_worker(worker, project, place)
    with quiet():
        from workflows.preflight import preflight
        from workflows.screen import ScreenMaker

        preflight(screen)
        uri = _store_uri(place, dry_run)
        flow = ScreenMaker.from_spec(screen, uri).make()
    jobs = len(flow.job_uuids)
    if dry_run:
        typer.echo(f"{spec_file}: a valid screen of {jobs} jobs at first; nothing was submitted")
        return
    from jobflow_remote import submit_flow

    with quiet():
        ids = submit_flow(flow, worker=worker, project=project)
    typer.echo(f"flow {flow.uuid}: {jobs} jobs at first (ids {ids[0]} to {ids[-1]}), more follow")
    typer.echo(f"store: {uri}")
    typer.echo(f"watch: jf flow list; hopscreen status --store {uri}")


def _check_worker(worker: str | None, project: str | None, place: Place) -> str:
    """Return the worker's name.

    Raises
    ------
    BadInput
        There is no such worker or project, or the worker cannot see the store.
    """
    from jobflow_remote.config import ConfigManager
    from jobflow_remote.config.base import ConfigError

    try:
        found = ConfigManager().get_project(project)
    except ConfigError as error:
        raise BadInput(f"--project: {error}; `jf project list -w` shows what is wrong") from None
    known = ", ".join(sorted(found.workers))
    if not known:
        raise BadInput(f"project {found.name}: has no workers; add one to its file")
    name = worker or next(iter(found.workers))
    if name not in found.workers:
        raise BadInput(f"--worker: '{name}' is unknown; {found.name} has {known}")
    if found.workers[name].type != "local" and not place.on_server:
        raise BadInput(
            f"store {place.uri}: worker '{name}' is on another machine; give "
            "--store mongodb://host/database"
        )
    return name


def _store_uri(place: Place, dry_run: bool) -> str:
    """Return the store's public URI, made if need be: jobs hold it, so it has no password."""
    from stores.screen_store import open_store

    if dry_run and not place.is_taken():
        return place.uri
    with open_store(place.uri, create=not dry_run) as opened:
        return opened.uri
