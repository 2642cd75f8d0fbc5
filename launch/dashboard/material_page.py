"""A material's page: structure, network, profiles, estimates and where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Flask, abort, render_template, request

from launch.dashboard import charts, scene
from stores.documents import LEVELS, BarrierDoc, RankedDoc
from stores.queries import HopView, MaterialView, find_hop, find_material
from stores.screen_store import ScreenStore
from workflows.hosts import host_of

MAX_HOPS = 200
"""Hops in the table and in the drawing; the documents of all are in the download."""


def add_to(app: Flask, store: ScreenStore) -> None:
    """Add the pages of this module."""
    app.add_url_rule("/material", "material", lambda: _material(store))


def material_of(store: ScreenStore, name: str) -> MaterialView:
    """Return the material with this id, or the material of the hop with this id."""
    view = find_material(store, name)
    if view is None and (hop := find_hop(store, name)):
        view = find_material(store, hop.hop.candidate_id)
    if view is None:
        abort(404, f"no material or hop {name!r} in this store")
    return view


def _material(store: ScreenStore) -> str:
    name = request.args.get("id", "")
    view = material_of(store, name)
    hops = _limiting_first(view)[:MAX_HOPS]
    chosen = _chosen(view, request.args.get("hop") or name)
    estimates = [doc for hop in view.hops for doc in hop.estimates]
    return render_template(
        "material.html",
        view=view,
        doc=view.candidate,
        ranked=view.ranked,
        hops=hops,
        chosen=chosen,
        levels=[level for level in LEVELS if any(doc.level == level for doc in estimates)],
        by_level=_by_level,
        roles=_roles(view.ranked),
        scene=_scene(view, hops),
        profiles=charts.profiles(chosen.estimates) if chosen else None,
        has_profile=lambda hop: any(doc.profile for doc in hop.estimates),
        failed=[doc for doc in estimates if doc.status == "failed"],
    )


def _limiting_first(view: MaterialView) -> list[HopView]:
    """Return the hops, those that limit the material before all others."""
    roles = _roles(view.ranked)
    return sorted(view.hops, key=lambda hop: hop.hop.hop_id not in roles)


def _roles(ranked: RankedDoc | None) -> dict[str, str]:
    """Return what hops limit: hop id → "1D, 2D"."""
    roles: dict[str, list[str]] = {}
    for limit in ranked.limits.values() if ranked else ():
        roles.setdefault(limit.limiting_hop_id, []).append(f"{limit.dimension}D")
    return {hop_id: ", ".join(dimensions) for hop_id, dimensions in roles.items()}


def _chosen(view: MaterialView, wanted: str) -> HopView | None:
    """Return the hop whose profiles are drawn: the one asked for, the limiting one, or any."""
    by_id = {hop.hop.hop_id: hop for hop in view.hops}
    limiting = view.ranked.limiting_hop_id if view.ranked else ""
    return by_id.get(wanted) or by_id.get(limiting) or next(iter(view.hops), None)


def _by_level(hop: HopView, level: str) -> Sequence[BarrierDoc]:
    return [doc for doc in hop.estimates if doc.level == level]


def _scene(view: MaterialView, hops: Sequence[HopView]) -> dict[str, Any] | None:
    if view.candidate.structure is None:
        return None
    return scene.scene(host_of(view.candidate), view.candidate.working_ion, hops)
