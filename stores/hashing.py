"""Content hashes: the ids of documents."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

ID_LENGTH = 16
"""Hex digits of an id: 64 bits, one clash expected beyond 10⁹ documents."""


def content_hash(content: Any) -> str:
    """Hash any JSON-able content, the same on every machine.

    Floats must be rounded by the caller to what is meant to count as equal.

    Parameters
    ----------
    content
        Mappings, sequences, strings, numbers, booleans, None.

    Returns
    -------
    str
        The first :data:`ID_LENGTH` hex digits of the SHA-256 of its canonical JSON.
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]


def file_sha256(path: str | Path) -> str:
    """Hash a file's bytes; the identity of a weights file."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as handle:
        while chunk := handle.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
