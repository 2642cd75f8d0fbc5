"""Where candidates come from: one module per source, one option model each.

To add a source, write a :class:`SourceOptions` subclass with a ``source`` literal and a
``records`` method, and add it to :data:`CandidateOptions`.
"""

from typing import Annotated

from pydantic import Field

from workflows.sources.base import CandidateRecord, SourceOptions, SourceUnavailable
from workflows.sources.catalogue import CatalogueOptions, load_catalogue
from workflows.sources.files import FilesOptions
from workflows.sources.materials_project import MaterialsProjectOptions
from workflows.sources.optimade import OptimadeOptions
from workflows.sources.store import FieldMap, StoreOptions

CandidateOptions = Annotated[
    CatalogueOptions | FilesOptions | MaterialsProjectOptions | OptimadeOptions | StoreOptions,
    Field(discriminator="source"),
]
"""The ``candidates`` section of a screening file, told apart by its ``source``."""

__all__ = [
    "CandidateOptions",
    "CandidateRecord",
    "CatalogueOptions",
    "FieldMap",
    "FilesOptions",
    "MaterialsProjectOptions",
    "OptimadeOptions",
    "SourceOptions",
    "SourceUnavailable",
    "StoreOptions",
    "load_catalogue",
]
