"""Cut a stream into pieces, so that memory stays flat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def batched(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """Yield tuples of ``size`` items, the last one shorter (``itertools.batched`` of 3.12)."""
    rest = iter(items)
    while batch := tuple(islice(rest, size)):
        yield batch
