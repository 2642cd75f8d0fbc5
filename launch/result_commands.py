"""``rank``, ``show`` and ``migrate``: ask a store, and bring it up to date."""

from __future__ import annotations

import math
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
    sort: Annotated[
        str | None,
        typer.Option(help="Fields to sort by, with commas; -FIELD falls. By rising barrier."),
    ] = None,
    pareto: Annotated[
        str | None,
        typer.Option(
            metavar="FIELDS",
            help="Only materials that no other beats in all of: barrier_ev, "
            "energy_above_hull_ev, band_gap_ev, cost_usd_per_kg, hazard; with commas, or 'all'.",
        ),
    ] = None,
    build: Annotated[
        bool, typer.Option("--build", help="First bring the ranking up to date with the barriers.")
    ] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="As --build, looking at every material again.")
    ] = False,
    temperature: Annotated[
        float | None,
        typer.Option(help="With --build: kelvin, for the diffusivity; as last time if left out."),
    ] = None,
    dimension: Annotated[
        int | None,
        typer.Option(
            min=1, max=3, help="With --build: how far the ion must get; as last time if left out."
        ),
    ] = None,
    format_: Annotated[RowFormat, typer.Option("--format")] = RowFormat.TABLE,
) -> None:
    """Rank the materials of a store by the barrier that limits them.

    ```
    hopscreen rank --store screen_li.store --top 10
    hopscreen rank --store screen_li.store --where '{"barrier_ev": {"$lt": 0.35}}'
    hopscreen rank --store screen_li.store --pareto barrier_ev,band_gap_ev,cost_usd_per_kg
    hopscreen rank --store screen_li.store --sort -band_gap_ev --format jsonl
    hopscreen rank --store mongodb://host/li_screen --build --format csv > ranking.csv
    ```
    """
    _check_rank_options(pareto, sort, build or rebuild, temperature, dimension)
    if build or rebuild:
        _build(store, temperature, dimension, rebuild=rebuild)
    with quiet():
        from stores import export, queries
        from stores.pareto import OBJECTIVES
        from stores.pareto import pareto as pareto_front
        from stores.screen_store import open_store

        front = None
        with open_store(store, create=False) as opened:
            if pareto is None:
                docs = queries.ranked(opened, top, where, sort=_order(sort))
            else:
                fields = list(OBJECTIVES) if pareto == "all" else _names(pareto)
                front = pareto_front(opened, fields, where)
                docs = front.materials[:top]
    if front is not None:
        left_out = f"; {front.incomplete} left out, not all is known of them"
        say(
            f"{len(front.materials)} of {front.compared} materials are beaten by no other"
            + (left_out if front.incomplete else "")
        )
    if format_ is RowFormat.JSON:
        print_text(export.to_json(docs))
    elif format_ is RowFormat.JSONL:
        print_text(export.to_json_lines(docs))
    elif format_ is RowFormat.CSV:
        print_text(export.to_csv(docs))
    elif docs:
        from launch.views import rank_table

        print_rich(rank_table(docs, front.objectives if front else _names(sort or "")))
    else:
        say("no ranked material" + (" passes --where" if where else " yet"))


def _check_rank_options(
    pareto: str | None,
    sort: str | None,
    building: bool,
    temperature: float | None,
    dimension: int | None,
) -> None:
    from stores.errors import BadInput

    if pareto is not None and sort is not None:
        raise BadInput("--pareto: comes by rising barrier; leave --sort out")
    for name, value in (("--temperature", temperature), ("--dimension", dimension)):
        if value is not None and not building:
            raise BadInput(f"{name}: belongs to a build; add --build")
    if temperature is not None and not 0 < temperature < math.inf:
        raise BadInput(f"--temperature: {temperature:g} is not allowed; give more than 0 K")


def _build(store: str, temperature: float | None, dimension: int | None, *, rebuild: bool) -> None:
    from workflows.progress import Progress

    with quiet():
        from stores.builder import RankBuilder
        from stores.screen_store import open_store

        open_store(store, create=False).close()  # a store that is not there is not made
        builder = RankBuilder(store, temperature, dimension, rebuild)
        builder.connect()
        ids = builder.stale()
        done = 0
        with Progress("rank").track(len(ids), "materials") as step:
            for looked_at in builder.build(ids):
                step(looked_at - done)
                done = looked_at
    say(f"{len(ids)} materials looked at, {builder.changed} rankings changed")
    for row in builder.calibrations.as_rows():
        low, high = row["shift_ev"]
        say(
            f"{row['level']} {row['model'].rstrip(':')}: moved by {low:+.2f} to {high:+.2f} eV, "
            f"intervals × {row['stretch']:g}, from {row['pairs']} hops with a dearer estimate"
        )


def _names(text: str) -> list[str]:
    return [name.strip().removeprefix("-") for name in text.split(",") if name.strip()]


def _order(text: str | None) -> dict[str, int] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    return {name.removeprefix("-"): -1 if name.startswith("-") else 1 for name in names}


def show(
    name: Annotated[str, typer.Argument(metavar="ID", help="Material, hop or estimate.")],
    store: StoreOption,
    format_: Annotated[Format, typer.Option("--format")] = Format.TABLE,
) -> None:
    """Show one material or hop: its estimates at every level, its energy profile.

    ```
    hopscreen show LiFePO4:Li --store screen_li.store
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
