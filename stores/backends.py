"""Where a screen's collections live: a folder, or a MongoDB server."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote_plus

import litemongo
from maggma.core import Store
from maggma.stores import GridFSStore, MongoStore
from pymongo import MongoClient
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from stores.blob_folder import BlobFolder
from stores.documents import SCHEMA_VERSION
from stores.errors import BadInput

MARKER = "hopscreen-store.json"
Indexes = dict[str, tuple[tuple[str, ...], ...]]


class Backend(Protocol):
    """What a screen's store asks of the place where it lives."""

    uri: str
    read_only: bool

    def collection(self, name: str, key: str) -> MongoStore:
        """Return a connected maggma store of documents."""

    def files(self, name: str, key: str) -> Store:
        """Return a connected maggma store of large objects."""

    def ensure_indexes(self, indexes: Indexes) -> None:
        """Create the indexes that are missing."""

    def close(self) -> None:
        """Close the connections."""


class FolderBackend:
    """A folder: SQLite files under ``db``, large objects under ``blobs``."""

    def __init__(self, folder: Path, *, create: bool) -> None:
        self.folder = folder.expanduser().absolute()
        self.uri = str(self.folder)
        self.read_only = not create
        _check_folder(self.folder, create=create)
        self._database = litemongo.connect(f"file://{self.folder}")["db"]

    def collection(self, name: str, key: str) -> MongoStore:
        """Return a connected maggma store of documents."""
        store = MongoStore.from_collection(self._database[name])
        store.key = key
        return store

    def files(self, name: str, key: str) -> Store:
        """Return a connected maggma store of large objects."""
        store = BlobFolder(self.folder / name, key=key)
        store.connect()
        return store

    def ensure_indexes(self, indexes: Indexes) -> None:
        """Create the indexes that are missing."""
        for name, specs in indexes.items():
            for fields in specs:
                self._database[name].create_index([(field, 1) for field in fields])

    def close(self) -> None:
        """Close the connections."""
        self._database.client.close()


class MongoBackend:
    """A database on a MongoDB server."""

    def __init__(self, uri: str, *, create: bool) -> None:
        parts = parse_uri(uri)
        if not parts["database"]:
            raise BadInput(f"store uri {_public(parts)}: name a database, as in mongodb://host/li")
        self.uri = _public(parts)
        self.read_only = not create
        self._client: MongoClient[dict[str, Any]] = MongoClient(
            _with_credentials(uri, parts), serverSelectionTimeoutMS=5000
        )
        self._database = self._client[parts["database"]]
        try:
            self._client.admin.command("ping")
        except PyMongoError as error:
            kind = type(error).__name__
            raise BadInput(f"store uri {self.uri}: no answer ({kind}); is the server up?") from None

    def collection(self, name: str, key: str) -> MongoStore:
        """Return a connected maggma store of documents."""
        store = MongoStore.from_collection(self._database[name])
        store.key = key
        return store

    def files(self, name: str, key: str) -> Store:
        """Return a connected maggma store of large objects."""
        raise NotImplementedError

    def ensure_indexes(self, indexes: Indexes) -> None:
        """Create the indexes that are missing."""
        for name, specs in indexes.items():
            for fields in specs:
                self._database[name].create_index([(field, 1) for field in fields])

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def open_backend(uri: str, *, create: bool) -> Backend:
    """Choose the backend by the form of the URI."""
    if uri.startswith(("mongodb://", "mongodb+srv://")):
        return MongoBackend(uri, create=create)
    return FolderBackend(Path(uri), create=create)


def _check_folder(folder: Path, *, create: bool) -> None:
    marker = folder / MARKER
    if not marker.exists():
        if not create:
            raise BadInput(f"store {folder}: not a hopscreen store; give the folder of a screen")
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise BadInput(f"store {folder}: not a hopscreen store; give a new or empty folder")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            marker.write_text(json.dumps({"format": "hopscreen", "schema_version": SCHEMA_VERSION}))
        except OSError as error:
            raise BadInput(f"store {folder}: cannot write ({error.strerror})") from None
    version = json.loads(marker.read_text()).get("schema_version")
    if version > SCHEMA_VERSION:
        raise BadInput(
            f"store {folder}: schema_version {version} is newer than this hopscreen's "
            f"{SCHEMA_VERSION}; upgrade hopscreen"
        )
    if create and not os.access(folder, os.W_OK):
        raise BadInput(f"store {folder}: not writable; choose another folder")


def _public(parts: dict[str, Any]) -> str:
    hosts = ",".join(f"{host}:{port}" for host, port in parts["nodelist"])
    return f"mongodb://{hosts}/{parts['database'] or ''}"


def _with_credentials(uri: str, parts: dict[str, Any]) -> str:
    user = os.environ.get("HOPSCREEN_MONGODB_USERNAME")
    if parts["username"] or not user:
        return uri
    password = os.environ.get("HOPSCREEN_MONGODB_PASSWORD", "")
    scheme, rest = uri.split("://", 1)
    return f"{scheme}://{quote_plus(user)}:{quote_plus(password)}@{rest}"
