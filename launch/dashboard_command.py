"""``dashboard``: look at a store in a browser."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

import typer

from launch.output import quiet, say
from launch.places import StoreOption
from stores.errors import BadInput


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(dashboard)


def dashboard(
    store: StoreOption,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8050,
    host: Annotated[
        str, typer.Option(help="Address to serve at; the default lets in this machine alone.")
    ] = "127.0.0.1",
    open_: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
) -> None:
    """Look at a store in a browser: ranking, materials, funnel, parity, jobs.

    It only reads, also while a screen runs. On a cluster, lead the port here by
    `ssh -L 8050:localhost:8050 cluster`.

    ```
    hopscreen dashboard --store screen_li.store
    hopscreen dashboard --store mongodb://host/li_screen --port 8051 --open
    ```
    """
    for package in ("flask", "plotly"):
        if find_spec(package) is None:
            raise BadInput(
                f"dashboard: {package} is not installed; run: pip install 'hopscreen[dashboard]'"
            )
    with quiet():
        from launch.dashboard.server import make_server
        from stores.screen_store import open_store

        opened = open_store(store, create=False)
    with opened, make_server(opened, host, port) as server:
        address = f"[{host}]" if ":" in host else host
        url = f"http://{address}:{server.port}/"
        say(f"dashboard of {opened.uri}: {url}  (Ctrl-C ends it)")
        if not server.is_private:
            say(f"--host {host}: everybody who reaches this machine can read the store")
        if open_:
            typer.launch(url)
        with quiet():
            server.serve_forever()
