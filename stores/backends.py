"""Where a screen's collections live: a folder, or a MongoDB server."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote_plus, unquote_plus

import gridfs
from maggma.core import Store
from maggma.stores import GridFSStore, MongoStore
from pymongo import IndexModel, MongoClient
from pymongo.errors import InvalidURI, PyMongoError
from pymongo.uri_parser import parse_uri

from stores.blob_folder import BlobFolder
from stores.documents import SCHEMA_VERSION
from stores.errors import BadInput, NoStore
from stores.hashing import content_hash
from stores.sqlite_collection import SqliteDatabase

MARKER = "hopscreen-store.json"
"""The file that makes a folder a store, and says which version wrote it."""

DATABASE = "store.sqlite"

_MARKS = "hopscreen"
"""The collection that makes a database a store, as the marker does a folder."""

USERNAME = "HOPSCREEN_MONGODB_USERNAME"
PASSWORD = "HOPSCREEN_MONGODB_PASSWORD"
"""Environment variables with the credentials of a MongoDB server."""

_PATIENCE: dict[str, Any] = {"serverSelectionTimeoutMS": 5000}
"""How long to wait for a server, if the URI does not say."""

Indexes = dict[str, tuple[tuple[str, ...], ...]]


class _Shared:
    """A maggma store whose connection belongs to a backend."""

    collection_name: str

    @property
    def name(self) -> str:
        """The collection; the server's address may hold what nobody should read."""
        return f"hopscreen://{self.collection_name}"

    def connect(self, force_reset: bool = False) -> None:
        """Connected from the start."""

    def close(self) -> None:
        """The connection is shared: :meth:`Backend.close` closes it."""


class Documents(_Shared, MongoStore):
    """A maggma store on a collection of a backend."""

    @classmethod
    def on(cls, collection: Any, key: str) -> Documents:
        """Make a connected store of a pymongo collection or an embedded one."""
        store = cls("", collection.name)
        store._coll = collection
        store.key = key
        return store


class Files(_Shared, GridFSStore):
    """A maggma GridFS store on a database of a backend."""

    @classmethod
    def on(cls, database: Any, name: str, key: str) -> Files:
        """Make a connected store of large objects."""
        store = cls("", name, compression=True, key=key)
        store._coll = gridfs.GridFS(database, name)
        store._files_collection = database[f"{name}.files"]
        store._chunks_collection = database[f"{name}.chunks"]
        store._fs = Documents.on(store._files_collection, key)  # type: ignore[assignment]
        return store


class Backend(Protocol):
    """What a screen's store asks of the place where it lives."""

    uri: str
    read_only: bool
    schema_version: int

    def collection(self, name: str, key: str) -> MongoStore:
        """Return a connected maggma store of documents."""

    def files(self, name: str, key: str) -> Store:
        """Return a connected maggma store of large objects."""

    def ensure_indexes(self, indexes: Indexes) -> None:
        """Create the indexes that are missing."""

    def set_schema_version(self, version: int) -> None:
        """Say that the store is of this version now."""

    def close(self) -> None:
        """Close the connections."""


class FolderBackend:
    """A folder: documents in one SQLite file, large objects as files beside it."""

    def __init__(self, folder: Path, *, create: bool) -> None:
        self.folder = folder.expanduser().absolute()
        self.uri = str(self.folder)
        self.read_only = not create
        self.schema_version = _check_folder(self.folder, create=create)
        self._database = SqliteDatabase(self.folder / DATABASE, read_only=self.read_only)
        try:
            begun = self._database.user_version != 0
        except sqlite3.Error as error:
            raise BadInput(
                f"store {self.folder}: {DATABASE} cannot be read ({error}); "
                "put back a copy of it, or give another folder"
            ) from None
        if self.read_only and not begun:
            raise BadInput(f"store {self.folder}: still empty; run a screen into it first")

    def collection(self, name: str, key: str) -> MongoStore:
        """Return a connected maggma store of documents."""
        return Documents.on(self._database[name], key)

    def files(self, name: str, key: str) -> Store:
        """Return a connected maggma store of large objects."""
        return BlobFolder(self.folder / name, key=key)

    def ensure_indexes(self, indexes: Indexes) -> None:
        """Create the indexes that are missing."""
        mark = int(content_hash(indexes)[:7], 16)
        if self._database.user_version == mark:
            return
        with self._database.transaction():
            for name, specs in indexes.items():
                for fields in specs:
                    self._database[name].create_index([(field, 1) for field in fields])
            self._database.user_version = mark

    def set_schema_version(self, version: int) -> None:
        """Say that the store is of this version now."""
        _write_marker(self.folder, version)

    def close(self) -> None:
        """Close the connections."""
        self._database.close()


class MongoBackend:
    """A database on a MongoDB server."""

    def __init__(self, uri: str, *, create: bool) -> None:
        self.uri, login = _without_credentials(uri)
        try:
            parts = parse_uri(login)
        except (InvalidURI, PyMongoError, ValueError) as error:
            raise BadInput(f"store uri {self.uri}: {error}; give mongodb://host/database") from None
        if not parts["database"]:
            raise BadInput(f"store uri {self.uri}: no database; give mongodb://host/database")
        self.read_only = not create
        patience = {} if "serverSelectionTimeoutMS" in parts["options"] else _PATIENCE
        self._client: MongoClient[dict[str, Any]] = MongoClient(login, **patience)
        self._database = self._client[parts["database"]]
        try:
            self.schema_version = self._check_version()
        except PyMongoError as error:
            raise BadInput(
                f"store uri {self.uri}: no answer ({type(error).__name__}); "
                f"is the server up, and are {USERNAME} and {PASSWORD} right?"
            ) from None

    def _check_version(self) -> int:
        marks = self._database[_MARKS]
        mark = marks.find_one({"_id": "store"})
        if mark is not None:
            return _known_version(self.uri, mark.get("schema_version"))
        if self.read_only:
            raise NoStore(
                f"store uri {self.uri}: not a hopscreen store; give the database of a screen"
            )
        fields = {"schema_version": SCHEMA_VERSION}
        marks.update_one({"_id": "store"}, {"$setOnInsert": fields}, upsert=True)
        return SCHEMA_VERSION

    def collection(self, name: str, key: str) -> MongoStore:
        """Return a connected maggma store of documents."""
        return Documents.on(self._database[name], key)

    def files(self, name: str, key: str) -> Store:
        """Return a connected maggma store of large objects."""
        store = Files.on(self._database, name, key)
        if not self.read_only:
            store.ensure_index(key)
        return store

    def ensure_indexes(self, indexes: Indexes) -> None:
        """Create the indexes that are missing."""
        mark = content_hash(indexes)
        marks = self._database[_MARKS]
        if marks.find_one({"_id": "store", "indexes": mark}):
            return
        for name, specs in indexes.items():
            models = [IndexModel([(field, 1) for field in fields]) for fields in specs]
            self._database[name].create_indexes(models)
        marks.update_one({"_id": "store"}, {"$set": {"indexes": mark}})

    def set_schema_version(self, version: int) -> None:
        """Say that the store is of this version now."""
        change = {"$set": {"schema_version": version}}
        self._database[_MARKS].update_one({"_id": "store"}, change)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def open_backend(uri: str, *, create: bool) -> Backend:
    """Choose the backend by the form of the URI."""
    if uri.startswith(("mongodb://", "mongodb+srv://")):
        return MongoBackend(uri, create=create)
    if "://" in uri:
        scheme = uri.split("://", 1)[0]
        raise BadInput(f"store uri: {scheme}:// is not known; give a folder or mongodb://…")
    return FolderBackend(Path(uri), create=create)


def _check_folder(folder: Path, *, create: bool) -> int:
    marker = folder / MARKER
    try:
        if not marker.exists():
            _make_folder(folder, create=create)
        text = marker.read_text()
    except OSError as error:
        raise BadInput(
            f"store {folder}: cannot {'write' if create else 'read'} here "
            f"({error.strerror}); choose another folder"
        ) from None
    try:
        mark = json.loads(text)
        version = mark["schema_version"] if mark["format"] == "hopscreen" else None
    except (ValueError, KeyError, TypeError):
        version = None
    if create and not os.access(folder, os.W_OK):
        raise BadInput(f"store {folder}: cannot write here; choose another folder")
    return _known_version(str(folder), version)


def _make_folder(folder: Path, *, create: bool) -> None:
    if not create:
        raise NoStore(f"store {folder}: not a hopscreen store; give the folder of a screen")
    # Another process may be making it at this moment.
    if folder.exists() and any(not entry.name.startswith(MARKER) for entry in folder.iterdir()):
        raise BadInput(
            f"store {folder}: holds other things than a hopscreen store; give a new or empty folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    _write_marker(folder, SCHEMA_VERSION)


def _write_marker(folder: Path, version: int) -> None:
    draft = folder / f"{MARKER}.{os.getpid()}"
    draft.write_text(json.dumps({"format": "hopscreen", "schema_version": version}) + "\n")
    draft.replace(folder / MARKER)


def _known_version(where: str, version: Any) -> int:
    if not isinstance(version, int):
        raise BadInput(f"store {where}: {MARKER} is damaged; put back a copy, or give another one")
    if version > SCHEMA_VERSION:
        raise BadInput(
            f"store {where}: schema_version {version} is newer than {SCHEMA_VERSION}, which this "
            "hopscreen knows; upgrade hopscreen"
        )
    return version


def _without_credentials(uri: str) -> tuple[str, str]:
    """Return the URI to show and the one to log in with.

    Credentials given in the URI go on to the environment, so that a worker process can open the
    shown URI.
    """
    scheme, rest = uri.split("://", 1)
    login, at, address = rest.rpartition("@")
    if at:
        user, _, password = login.partition(":")
        os.environ[USERNAME], os.environ[PASSWORD] = unquote_plus(user), unquote_plus(password)
        return f"{scheme}://{address}", uri
    if user := os.environ.get(USERNAME, ""):
        password = quote_plus(os.environ.get(PASSWORD, ""))
        return uri, f"{scheme}://{quote_plus(user)}:{password}@{address}"
    return uri, uri
