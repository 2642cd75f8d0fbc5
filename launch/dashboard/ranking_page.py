"""The ranking: filtered, sorted and cut into pages by the database; the same as CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from flask import Flask, Response, abort, render_template, request

from launch.dashboard import filters
from launch.dashboard.remember import remembered
from stores import export
from stores.documents import RankedMaterial
from stores.errors import BadInput
from stores.queries import count_ranked, ranked
from stores.screen_store import ScreenStore
from stores.where import one_line, parse_where
from workflows.spec import WORKING_IONS

PAGE = 50
"""Materials on a page."""

COUNTED = 10_000
"""Materials that pass a filter are counted so far and no further: a server walks through them."""

_LAST_PAGE = 1_000_000
"""Beyond it no server counts."""

_CHUNK = 10_000
"""Materials read at a time for a download."""

Filters = dict[str, str | list[str]]
Ions = Callable[[str], tuple[list[str], float]]


def add_to(app: Flask, store: ScreenStore) -> None:
    """Add the pages of this module."""
    ions = remembered(lambda _: _ions(store))
    app.add_url_rule("/", "ranking", lambda: _ranking(store, ions))
    app.add_url_rule("/ranking.<kind>", "download", lambda kind: _download(store, kind))


def _ranking(store: ScreenStore, ions: Ions) -> tuple[str, int]:
    asked = filters.given(request.args, request.args.getlist("level"))
    by = request.args.get("sort") or "barrier"
    descending = request.args.get("order") == "desc"
    page, total, more = 1, 0, False
    pages: int | None = None
    materials: list[RankedMaterial] = []
    mistake = None
    try:
        where, order = _question(asked, by, descending=descending)
        total = _total(store, where)
        page = min(max(request.args.get("page", 1, int), 1), _LAST_PAGE)
        if not where or total <= COUNTED:
            pages = max(1, -(-total // PAGE))
            page = min(page, pages)
        # One more than is shown tells whether there is a next page.
        found = ranked(store, PAGE + 1, where, sort=order, skip=(page - 1) * PAGE)
        materials, more = found[:PAGE], len(found) > PAGE
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
        counted=COUNTED,
        nothing_ranked=not (total or mistake or _total(store, {})),
        page=page,
        pages=pages,
        more=more,
        asked=asked,
        by=by,
        descending=descending,
        link=link,
        query=link().partition("?")[2],
        ions=ions("")[0],
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
    """Return the working ions of the ranking."""
    ranked_docs = store.ranked._collection
    return [ion for ion in WORKING_IONS if ranked_docs.find_one({"working_ion": ion}, {"_id": 1})]


def _total(store: ScreenStore, where: dict[str, Any]) -> int:
    """Count the materials that pass; of a filter, up to one more than :data:`COUNTED`."""
    criteria = parse_where(where)
    collection = store.ranked._collection
    with one_line():
        if not criteria:
            return int(collection.estimated_document_count())
        return sum(1 for _ in collection.find(criteria, {"_id": 1}, limit=COUNTED + 1))


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
