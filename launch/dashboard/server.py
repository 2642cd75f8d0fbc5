"""The dashboard's own small web server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from launch.dashboard.app import create_app
from stores.errors import BadInput
from stores.screen_store import ScreenStore


class _Handler(WSGIRequestHandler):
    """Keeps connections, and keeps quiet."""

    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:
        """Say nothing of each request."""

    def version_string(self) -> str:
        return "hopscreen"


class Server(ThreadedWSGIServer):
    """A thread for each connection; the store gives each its own."""

    daemon_threads = True

    @property
    def is_private(self) -> bool:
        """Whether this machine alone can ask."""
        return ip_address(str(self.server_address[0])).is_loopback


@contextmanager
def make_server(store: ScreenStore, host: str = "127.0.0.1", port: int = 0) -> Iterator[Server]:
    """Bind the dashboard of a store; ``serve_forever`` then runs it.

    Raises
    ------
    BadInput
        The address cannot be had.
    """
    # Bound here and not by werkzeug, which ends the process where a port is taken.
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        bound = socket.create_server((host, port), family=family)
    except OSError as error:
        # The socket module adds the address to the system's words.
        reason = str(error.strerror or error).partition(" (while")[0]
        raise BadInput(
            f"dashboard: {host}:{port}: {reason}; choose another --port or --host"
        ) from None
    with bound:
        server = Server(
            host, bound.getsockname()[1], create_app(store, host=host), _Handler, fd=bound.fileno()
        )
        try:
            yield server
        finally:
            server.server_close()
