"""``init``: files to start from on a cluster."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from string import Template
from typing import Annotated, Any

import typer
import yaml

from launch.output import quiet, say
from launch.places import short
from stores.errors import BadInput

TEMPLATES = Path(__file__).parent / "templates"


class Cluster(StrEnum):
    """Batch systems that jobflow-remote knows."""

    SLURM = "slurm"
    PBS = "pbs"
    SGE = "sge"
    NONE = "shell"


def _resources(cluster: Cluster, cores: int, gpus: int) -> dict[str, dict[str, Any]]:
    """Return how a batch system is asked for the jobs of each kind, in its own words."""
    time_key = "time" if cluster is Cluster.SLURM else "walltime"
    node: dict[str, Any] = {}
    gpu: dict[str, Any] = {}
    match cluster:
        case Cluster.SLURM:
            node = {"nodes": 1, "ntasks": 1, "cpus_per_task": cores}
            gpu = {"gres": f"gpu:{gpus}"}
        case Cluster.PBS:
            node = {"select": f"select=1:ncpus={cores}"}
            gpu = {"select": f"select=1:ncpus={cores}:ngpus={gpus}"}
        case Cluster.SGE:
            node = {"model": f"smp {cores}"}
            gpu = {"select": f"gpu={gpus}"}
        case Cluster.NONE:
            return {"cpu": {}, "mace": {}, "dft": {}}
    return {
        "cpu": {**node, time_key: "02:00:00"},
        "mace": {**node, **(gpu if gpus else {}), time_key: "04:00:00"},
        "dft": {**node, time_key: "24:00:00"},
    }


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(init)


def init(
    cluster: Annotated[Cluster, typer.Option("--cluster", help="Batch system.")] = Cluster.SLURM,
    name: Annotated[str, typer.Option("--name", help="Of the project.")] = "screens",
    mongodb: Annotated[
        str, typer.Option("--mongodb", help="Server and database of the queue; no password.")
    ] = "mongodb://localhost:27017/screens",
    cores: Annotated[int, typer.Option("--cores", min=1, help="Cores of a CPU job.")] = 8,
    gpus: Annotated[int, typer.Option("--gpus", min=0, help="GPUs of a MACE-NEB job.")] = 0,
    work_dir: Annotated[
        Path | None,
        typer.Option("--work-dir", help="Folder of the jobs, seen by all nodes."),
    ] = None,
    profile: Annotated[
        Path, typer.Option("--profile", help="Where to write the stages' places.")
    ] = Path("cluster.yaml"),
    delay: Annotated[
        int, typer.Option("--delay", min=1, help="Seconds between two looks of the runner.")
    ] = 10,
) -> None:
    """Write a project file of jobflow-remote and a profile of stages, to edit and to start from.

    ```
    hopscreen init --cluster slurm --mongodb mongodb://db.example.org/screens
    ```
    """
    with quiet():
        from jobflow_remote.config.settings import JobflowRemoteSettings

        folder = Path(JobflowRemoteSettings().projects_folder)
    project_file = folder / f"{name}.yaml"
    for file in (project_file, profile):
        if file.exists():
            raise BadInput(f"{file}: is there already; give another --name or --profile")
    work_dir = (work_dir or _scratch() / "hopscreen_jobs").absolute()
    host, port, database, user = _server(mongodb)
    asked = _resources(cluster, cores, gpus)
    values = {
        "name": name,
        "scheduler": cluster.value,
        "work_dir": work_dir,
        "pre_run": f"export PATH={sys.prefix}/bin:$PATH OMP_NUM_THREADS=1",
        "host": host,
        "port": port,
        "database": database,
        "login": _login(user, 4),
        "deeper_login": _login(user, 6),
        "delay": delay,
        "profile": profile.name,
        "cores": cores,
        **{kind: _on_one_line(resources) for kind, resources in asked.items()},
    }
    project = Template((TEMPLATES / "project.yaml").read_text()).substitute(values)
    places = Template((TEMPLATES / "profile.yaml").read_text()).substitute(values)
    folder.mkdir(parents=True, exist_ok=True)
    work_dir.mkdir(parents=True, exist_ok=True)
    # A password may come into it: nobody else may ever have read it.
    with os.fdopen(os.open(project_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(project)
    profile.write_text(places)
    say(f"project: {project_file}; edit what is marked with <<<")
    say(f"profile: {short(profile.absolute())}; edit it too, and name it in the screening file:")
    say(f"         launch: {{profile: {profile.name}}}")
    say(f"jobs:    {work_dir}")
    say(f"next:    jf -p {name} project check; for a new database: jf -p {name} admin reset")
    say(f"         jf -p {name} runner start; jf -p {name} flow submit SPEC.yaml")


def _scratch() -> Path:
    return Path(os.environ.get("SCRATCH") or Path.home())


def _server(uri: str) -> tuple[str, int, str, str | None]:
    """Return host, port, database and user of the queue's server."""
    from pymongo.errors import PyMongoError
    from pymongo.uri_parser import parse_uri

    try:
        parts = parse_uri(uri)
    except (PyMongoError, ValueError) as error:
        raise BadInput(f"--mongodb: {error}; give mongodb://host:port/database") from None
    if parts["password"]:
        raise BadInput("--mongodb: holds a password; put it into the project file afterwards")
    if not parts["database"]:
        raise BadInput("--mongodb: names no database; give mongodb://host:port/database")
    host, port = parts["nodelist"][0]
    return host, port, parts["database"], parts["username"]


def _login(user: str | None, indent: int) -> str:
    """Return the lines of a store for a server with users."""
    mark = "" if user else "# "
    lines = [
        f"{mark}username: {user or 'NAME'}",
        f"{mark}password: <<<",
        "# auth_source: admin    # the database that knows the user, if it is another",
        "# mongoclient_kwargs: {tls: true, tlsCAFile: /path/ca.pem}",
    ]
    return "".join(f"{' ' * indent}{line}\n" for line in lines)


def _on_one_line(resources: dict[str, Any]) -> str:
    """Write a mapping on one line."""
    return yaml.safe_dump(resources, default_flow_style=True, sort_keys=False, width=1000).strip()
