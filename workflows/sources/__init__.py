"""Where candidates come from: one module per source, one option model each.

To add a source, write a :class:`SourceOptions` subclass with a ``source`` literal and a
``records`` method, and add it to :data:`CandidateOptions`.
"""

from collections.abc import Container, Iterator
from typing import Annotated

from pydantic import Field

from workflows.sources.base import CandidateRecord, SourceOptions
from workflows.sources.catalogue import CatalogueOptions, load_catalogue
from workflows.sources.files import FilesOptions

CandidateOptions = Annotated[CatalogueOptions | FilesOptions, Field(discriminator="source")]
"""The ``candidates`` section of a screening file, told apart by its ``source``."""


def read_candidates(
    options: SourceOptions, working_ion: str, known: Container[str] = frozenset()
) -> Iterator[CandidateRecord]:
    """Yield the candidates of any source; see :meth:`SourceOptions.records`."""
    return options.records(working_ion, known)


__all__ = [
    "CandidateOptions",
    "CandidateRecord",
    "CatalogueOptions",
    "FilesOptions",
    "SourceOptions",
    "load_catalogue",
    "read_candidates",
]
