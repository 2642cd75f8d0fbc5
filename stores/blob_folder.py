"""A maggma store that keeps each large object as one compressed file.

Files rather than rows: a trajectory of megabytes neither bloats the database that every query
walks through, nor slows its write-ahead log.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maggma.core import Store
from maggma.stores import MemoryStore
from monty.json import jsanitize


class BlobFolder(Store):
    """Large JSON-able objects, one gzip file each, written atomically.

    Queries by key read the files named; any other criteria read every file.
    """

    def __init__(self, folder: str | Path, **kwargs: Any) -> None:
        self.folder = Path(folder)
        super().__init__(**kwargs)

    @property
    def name(self) -> str:
        """Where the files are."""
        return f"file://{self.folder}"

    @property
    def _collection(self) -> Any:
        raise NotImplementedError("a folder of files has no collection")

    def connect(self, force_reset: bool = False) -> None:
        """Nothing to connect to; the folder is made at the first write."""

    def close(self) -> None:
        """Nothing to close."""

    def _path(self, value: str) -> Path:
        # hashed, so that no id can leave the folder or clash by letter case
        digest = hashlib.sha256(value.encode()).hexdigest()
        return self.folder / digest[:2] / f"{digest[2:32]}.json.gz"

    def update(self, docs: list[dict] | dict, key: list | str | None = None) -> None:
        """Write objects; one with the same key is replaced."""
        for doc in docs if isinstance(docs, list) else [docs]:
            path = self._path(str(doc[self.key]))
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f"{path.name}.{os.getpid()}.part")
            text = json.dumps(jsanitize(doc, recursive_msonable=True))
            with draft.open("wb") as handle:
                handle.write(gzip.compress(text.encode(), compresslevel=5, mtime=0))
                handle.flush()
                os.fsync(handle.fileno())
            draft.replace(path)

    def _read(self, criteria: dict | None) -> Iterator[dict]:
        wanted = (criteria or {}).get(self.key)
        if isinstance(wanted, str):
            paths = [self._path(wanted)]
        elif isinstance(wanted, dict) and list(wanted) == ["$in"]:
            paths = [self._path(value) for value in wanted["$in"]]
        else:
            paths = sorted(self.folder.glob("*/*.json.gz"))
        for path in paths:
            if path.exists():
                yield json.loads(gzip.decompress(path.read_bytes()))

    def _memory(self, criteria: dict | None) -> MemoryStore:
        memory = MemoryStore(key=self.key)
        memory.connect()
        memory._collection.insert_many(list(self._read(criteria)) or [{"_id": 0}])
        memory._collection.delete_one({"_id": 0})
        return memory

    def query(
        self,
        criteria: dict | None = None,
        properties: dict | list | None = None,
        sort: dict | None = None,
        skip: int = 0,
        limit: int = 0,
    ) -> Iterator[dict]:
        """Yield the objects that match; see :meth:`maggma.core.Store.query`."""
        yield from self._memory(criteria).query(criteria, properties, sort, None, skip, limit)

    def count(self, criteria: dict | None = None) -> int:
        """Count the objects that match."""
        return self._memory(criteria).count(criteria)

    def ensure_index(self, key: str, unique: bool = False) -> bool:
        """Only the key is indexed, by the file name."""
        return key == self.key

    def groupby(
        self,
        keys: list[str] | str,
        criteria: dict | None = None,
        properties: dict | list | None = None,
        sort: dict | None = None,
        skip: int = 0,
        limit: int = 0,
    ) -> Iterator[tuple[dict, list[dict]]]:
        """Group the objects that match; see :meth:`maggma.core.Store.groupby`."""
        yield from self._memory(criteria).groupby(keys, criteria, properties, sort, skip, limit)

    def remove_docs(self, criteria: dict) -> None:
        """Delete the objects that match."""
        for doc in self.query(criteria, [self.key]):
            self._path(str(doc[self.key])).unlink(missing_ok=True)
