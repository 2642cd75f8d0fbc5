"""Where a screen's results and jobs are kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from workflows.spec import ScreenSpec

StoreOption = Annotated[
    str, typer.Option("--store", help="Folder, or mongodb://host/database.", show_default=False)
]
OptionalStore = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="Folder, or mongodb://host/database; left out: beside the screening file.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Place:
    """Where one screen lives.

    Attributes
    ----------
    uri
        Store, as the user names it.
    folder
        Local folder of the jobs and of the lock.
    """

    uri: str
    folder: Path

    @property
    def on_server(self) -> bool:
        """Tell a MongoDB server from a folder."""
        return is_server(self.uri)


def is_server(uri: str) -> bool:
    """Tell a MongoDB server from a folder."""
    return uri.startswith(("mongodb://", "mongodb+srv://"))


def place_of(spec_file: Path, spec: ScreenSpec, store: str | None) -> Place:
    """Find the place: ``--store`` before the file's ``store:`` before a folder beside the file."""
    beside = spec_file.parent / f"{spec_file.stem}.store"
    if store is not None:
        uri = store
    elif spec.store is None:
        uri = str(beside)
    elif is_server(spec.store.uri):
        uri = spec.store.uri
        if spec.store.database:
            uri = f"{uri.rstrip('/')}/{spec.store.database}"
    else:
        uri = str(spec_file.parent / Path(spec.store.uri).expanduser())
    if is_server(uri):
        return Place(uri, beside.with_suffix(".jobs").absolute())
    return Place(uri, Path(uri).expanduser().absolute())


def short(path: Path) -> str:
    """Write a path from here if it lies below."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
