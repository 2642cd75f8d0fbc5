"""``report``: a store on one page, for a group meeting or a paper's supplement."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from launch.output import quiet, say
from launch.places import StoreOption, short
from stores.errors import BadInput


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(report)


def report(
    store: StoreOption,
    out: Annotated[Path, typer.Option(help="The page.", dir_okay=False)] = Path("report.html"),
    figures: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the figures as PNG and SVG; left out: beside the page.",
            file_okay=False,
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many materials it shows.")] = 30,
    where: Annotated[
        str | None, typer.Option(help="Mongo filter on the fields of the ranking, as JSON.")
    ] = None,
) -> None:
    """Write a store's findings on one page: funnel, ranking, profiles, methods, references.

    The page needs nothing but itself: send it, print it, put it into a supplement.

    ```
    hopscreen report --store screen_li.store --out report.html
    hopscreen report --store screen_li.store --top 10 --where '{"level": "dft"}'
    ```
    """
    with quiet():
        from launch.report import gather, render
        from stores.screen_store import open_store

        with open_store(store, create=False) as opened:
            page, files = render(gather(opened, top=top, where=where))
    folder = figures or out.with_name(f"{out.stem}_figures")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        out.write_text(page, encoding="utf-8")
    except OSError as error:
        raise BadInput(
            f"--out {error.filename or out}: cannot be written ({error.strerror}); "
            "give another place"
        ) from None
    say(f"page:    {short(out.absolute())} ({len(page.encode()) / 1024:.0f} kB)")
    say(f"figures: {short(folder.absolute())} ({len(files)} files)")
