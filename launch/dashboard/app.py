"""The application: its pages, what they share, and what guards them."""

from __future__ import annotations

import mimetypes
import sqlite3
from http import HTTPStatus
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from flask import Flask, Response, abort, render_template, request, send_file
from pymongo.errors import PyMongoError
from werkzeug.exceptions import HTTPException

from launch.dashboard import (
    formats,
    funnel_page,
    jobs_page,
    material_files,
    material_page,
    parity_page,
    ranking_page,
)
from stores.errors import BadInput
from stores.screen_store import ScreenStore

_POLICY = "; ".join(
    (
        "default-src 'none'",
        # Documents come from other people's files. Whatever stands in them, no script but the
        # two of this package and plotly.js runs.
        "script-src 'self'",
        # plotly.js styles its own elements.
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def create_app(store: ScreenStore, *, host: str = "127.0.0.1") -> Flask:
    """Return the dashboard of a store as a WSGI application.

    Parameters
    ----------
    store
        Opened for reading.
    host
        The address it will be served at. On loopback, requests under another name are refused:
        a page elsewhere could otherwise lead its own name to this machine and read the answers.
    """
    app = Flask(__name__)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters.update(formats.FILTERS)
    app.jinja_env.globals.update(
        store_name=_name(store.uri), store_uri=store.uri, hopscreen_version=version("hopscreen")
    )
    for page in (
        ranking_page,
        funnel_page,
        material_page,
        material_files,
        parity_page,
        jobs_page,
    ):
        page.add_to(app, store)
    app.add_url_rule("/plotly.js", "plotly", _plotly)
    app.register_error_handler(BadInput, _bad_input)
    app.register_error_handler(HTTPException, _http_error)
    for kind in (PyMongoError, sqlite3.Error):
        app.register_error_handler(kind, _no_answer)

    @app.before_request
    def _known_host() -> None:
        name = urlsplit(f"//{request.host}").hostname
        if host in _LOOPBACK and name not in _LOOPBACK:
            abort(HTTPStatus.FORBIDDEN, f"this dashboard answers to {host} alone")

    @app.after_request
    def _guard(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "same-origin"
        return response

    return app


def _plotly() -> Response:
    """Serve the plotly.js that comes inside the Python package."""
    spec = find_spec("plotly")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "package_data" / "plotly.min.js"
    return send_file(path, mimetype=mimetypes.types_map[".js"], max_age=86_400)


def _bad_input(error: BadInput) -> tuple[str, int]:
    return _error_page("That cannot be asked", str(error), HTTPStatus.BAD_REQUEST)


def _no_answer(error: Exception) -> tuple[str, int]:
    message = f"The store gives no answer ({type(error).__name__}). Is it still there?"
    return _error_page("No answer", message, HTTPStatus.SERVICE_UNAVAILABLE)


def _http_error(error: HTTPException) -> tuple[str, int]:
    return _error_page(error.name, error.description or "", error.code or 500)


def _error_page(title: str, message: str, code: int) -> tuple[str, int]:
    return render_template("error.html", title=title, message=message), code


def _name(uri: str) -> str:
    """Return the last part of a store's address."""
    return uri.rstrip("/").rsplit("/", 1)[-1].split("?")[0]
