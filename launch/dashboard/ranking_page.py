"""The ranking: filtered, sorted and cut into pages by the database; the same as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from flask import Flask, Response, abort, render_template, request

from launch.dashboard import filters
from stores import export
from stores.documents import RankedMaterial
from stores.errors import BadInput
from stores.queries import count_ranked, ranked
from stores.screen_store import ScreenStore

PAGE = 50
"""Materials on a page."""

_CHUNK = 10_000
"""Materials read at a time for a download."""

Filters = dict[str, str | list[str]]


def add_to(app: Flask, store: ScreenStore) -> None:
    """Add the pages of this module."""
    app.add_url_rule("/", "ranking", lambda: _ranking(store))
    app.add_url_rule("/ranking.<kind>", "download", lambda kind: _download(store, kind))


def _ranking(store: ScreenStore) -> tuple[str, int]:
    asked = filters.given(request.args, request.args.getlist("level"))
    by = request.args.get("sort") or "barrier"
    descending = request.args.get("order") == "desc"
    page, pages, total = 1, 1, 0
    materials: list[RankedMaterial] = []
    mistake = None
    try:
        where, order = _question(asked, by, descending=descending)
        total = count_ranked(store, where)
        pages = max(1, -(-total // PAGE))
        page = min(max(request.args.get("page", 1, int), 1), pages)
        materials = ranked(store, PAGE, where, sort=order, skip=(page - 1) * PAGE)
    except BadInput as error:
        # Said above the filters, which stay as they were typed.
        mistake = str(error)

    def link(**more: Any) -> str:
        """Return the link of this page with something changed; None takes it out."""
        return _link({**asked, "sort": by, "order": "desc" if descending else "", **more})

    answer = render_template(
        "ranking.html",
        mistake=mistake,
        materials=materials,
        total=total,
        nothing_ranked=not (total or mistake or count_ranked(store)),
        page=page,
        pages=pages,
        asked=asked,
        by=by,
        descending=descending,
        link=link,
        query=link().partition("?")[2],
        ions=_ions(store),
        shown=[
            name
            for name in filters.MAY_BE_MISSING
            if by == name or any(getattr(one, filters.SORTS[name]) is not None for one in materials)
        ],
        left_out=by in filters.MAY_BE_MISSING,
        temperature_k=materials[0].temperature_k if materials else None,
    )
    return answer, HTTPStatus.BAD_REQUEST if mistake else HTTPStatus.OK


def _question(
    asked: Filters, by: str, *, descending: bool
) -> tuple[dict[str, Any], dict[str, int]]:
    order = filters.order(by, descending=descending)
    where = filters.mongo_filter(asked)
    if by in filters.MAY_BE_MISSING:
        # A missing value would stand before all others.
        where = {"$and": [*([where] if where else []), {filters.SORTS[by]: {"$ne": None}}]}
    return where, order


def _link(parts: dict[str, Any]) -> str:
    defaults = {"sort": "barrier", "page": 1}
    wanted = {k: v for k, v in parts.items() if v and v != defaults.get(k)}
    return "/?" + urlencode(wanted, doseq=True)


def _ions(store: ScreenStore) -> list[str]:
    """Return the working ions of the ranking, by as many steps through the index."""
    found: list[str] = []
    while True:
        beyond = {"working_ion": {"$gt": found[-1]}} if found else {}
        row = next(
            iter(store.ranked._collection.find(
                beyond, {"_id": 0, "working_ion": 1}, sort=[("working_ion", 1)], limit=1
            )),
            None,
        )  # fmt: skip
        if row is None:
            return found
        found.append(row["working_ion"])


def _download(store: ScreenStore, kind: str) -> Response:
    if kind not in ("csv", "jsonl"):
        abort(404)
    asked = filters.given(request.args, request.args.getlist("level"))
    where, order = _question(
        asked,
        request.args.get("sort") or "barrier",
        descending=request.args.get("order") == "desc",
    )
    # Counted here: what is wrong with the filter is said before the answer begins.
    total = count_ranked(store, where)
    response = Response(
        _rows(store, kind, where, order, total),
        mimetype="text/csv" if kind == "csv" else "application/jsonl",
    )
    response.headers["Content-Disposition"] = f"attachment; filename=ranking.{kind}"
    return response


def _rows(
    store: ScreenStore, kind: str, where: dict[str, Any], order: dict[str, int], total: int
) -> Iterator[str]:
    if kind == "csv":
        yield export.to_csv([])
    for skip in range(0, total, _CHUNK):
        docs = ranked(store, _CHUNK, where, sort=order, skip=skip)
        if kind == "csv":
            yield export.to_csv(docs).partition("\n")[2]
        else:
            yield export.to_json_lines(docs)
