"""``rank``, ``show`` and ``migrate``: ask a store, and bring it up to date."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from launch.output import Format, RowFormat, print_json, print_rich, print_text, quiet, say
from launch.places import StoreOption


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(rank)
    app.command()(show)
    app.command()(migrate)


def rank(
    store: StoreOption,
    top: Annotated[int | None, typer.Option(help="How many; all where left out.")] = None,
    where: Annotated[
        str | None, typer.Option(help="Mongo filter on the fields of the ranking, as JSON.")
    ] = None,
    format_: Annotated[RowFormat, typer.Option("--format")] = RowFormat.TABLE,
) -> None:
    """Rank the materials of a store by the barrier that limits them.

    ```
    hopscreen rank --store screen_li.store --top 10
    hopscreen rank --store screen_li.store --where '{"barrier_ev": {"$lt": 0.35}}'
    hopscreen rank --store mongodb://host/li_screen --format csv > ranking.csv
    ```
    """
    with quiet():
        from stores import export, queries
        from stores.screen_store import open_store

        with open_store(store, create=False) as opened:
            docs = queries.ranked(opened, top, where)
    if format_ is RowFormat.JSON:
        print_text(export.to_json(docs))
    elif format_ is RowFormat.CSV:
        print_text(export.to_csv(docs))
    elif docs:
        from launch.views import rank_table

        print_rich(rank_table(docs))
    else:
        say("no ranked material" + (" passes --where" if where else " yet"))


def show(
    name: Annotated[str, typer.Argument(metavar="ID", help="Material, hop or estimate.")],
    store: StoreOption,
    format_: Annotated[Format, typer.Option("--format")] = Format.TABLE,
) -> None:
    """Show one material or hop: its estimates at every level, its energy profile.

    ```
    hopscreen show LiFePO4_olivine --store screen_li.store
    ```
    """
    with quiet():
        from stores import queries
        from stores.screen_store import open_store

        with open_store(store, create=False) as opened:
            view = queries.look_up(opened, name)
    if format_ is Format.JSON:
        print_json(plain_view(view))
        return
    from launch.views import hop_views, material_views

    print_rich(*(hop_views(view) if isinstance(view, queries.HopView) else material_views(view)))


def plain_view(view: Any) -> dict[str, Any]:
    """Return a view as JSON-able mappings."""
    from stores.queries import HopView

    def hop(one: HopView) -> dict[str, Any]:
        estimates = [doc.model_dump(mode="json") for doc in one.estimates]
        return {**one.hop.model_dump(mode="json"), "estimates": estimates}

    if isinstance(view, HopView):
        return hop(view)
    return {
        "candidate": view.candidate.model_dump(mode="json"),
        "ranked": view.ranked.model_dump(mode="json") if view.ranked else None,
        "hops": [hop(one) for one in view.hops],
    }


def migrate(
    store: StoreOption,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change.")] = False,
) -> None:
    """Bring a store that an older hopscreen wrote to this one's schema.

    Killed on the way, it goes on at the next call. No screen may be at work on the store.

    ```
    hopscreen migrate --store screen_li.store --dry-run
    ```
    """
    with quiet():
        from stores.migrate import migrate as bring_up

        steps = bring_up(store, dry_run=dry_run)
    for step in steps:
        what = f"{step.collection}: {step.documents} documents to schema {step.to_version}"
        broken = f"; not valid then: {', '.join(step.broken)}" if step.broken else ""
        say(("would change " if dry_run else "changed ") + what + broken)
    if not steps:
        say("nothing to do: the store is of this version")
