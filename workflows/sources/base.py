"""What every source of candidates shares: the record it yields and the form of its options."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator
from pymatgen.core import Structure

from stores.documents import Failure
from stores.errors import BadInput


@dataclass(frozen=True)
class CandidateRecord:
    """A host as its source gives it, before filters and before it is made primitive.

    A record has a structure, or an error, or is already ``known`` to the caller, in which case
    only its id is given and nothing was fetched for it.

    Attributes
    ----------
    material_id
        Unique and stable within the source.
    source
        Name of the source, as in the screening file.
    structure
        As given by the source; None for a failed or a known record.
    reference
        Publication, file or URL that it comes from.
    energy_above_hull_ev
        eV/atom.
    band_gap_ev
        eV.
    metadata
        JSON-able facts of the source: database version, query, family.
    error
        Why the source could not give a structure; the screen goes on.
    known
        The caller said that it has this id already.
    """

    material_id: str
    source: str
    structure: Structure | None = None
    reference: str | None = None
    energy_above_hull_ev: float | None = None
    band_gap_ev: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    error: Failure | None = None
    known: bool = False


class SourceUnavailable(BadInput):
    """A source cannot be reached or fails; the message is one line with a remedy.

    What was fetched so far is kept: the same command goes on where it stopped.
    """


class SourceOptions(BaseModel):
    """The ``candidates`` section of a screening file for one source.

    A source is a subclass with a ``source: Literal["its name"]`` field; it joins the union
    :data:`workflows.sources.CandidateOptions`, and nothing else has to know it.
    """

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _no_passwords(cls, data: Any) -> Any:
        # Of the whole section, since an error on the field itself would repeat its value.
        for key, value in data.items() if isinstance(data, dict) else ():
            if isinstance(value, str) and re.search(r"://[^/]*@", value):
                raise ValueError(
                    f"{key}: keep passwords out of the file: put the address into an environment "
                    "variable and give env:NAME, where the source knows it"
                )
        return data

    def check(self) -> None:
        """Refuse what is known to fail without asking the source, before a store is made.

        Raises
        ------
        BadInput
            For example when a key is missing.
        """

    @abstractmethod
    def records(
        self, working_ion: str, known: Container[str] = frozenset()
    ) -> Iterator[CandidateRecord]:
        """Yield the candidates one by one, in a stable order, fetching lazily.

        Parameters
        ----------
        working_ion
            Element symbol of the mobile ion.
        known
            Material ids that the caller has already: they are yielded as known records and
            never fetched again, which is how a stopped screen goes on where it stood.

        Raises
        ------
        BadInput
            When the options cannot be answered: no such file, no key.
        SourceUnavailable
            When the source cannot be reached.
        """


def one_line(error: BaseException, limit: int = 300) -> str:
    """Return an error's message on one line of bounded length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _two_numbers(value: Any) -> Any:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("is no range; give [lowest, highest]")
    return value


def _rising(value: tuple[Any, Any]) -> tuple[Any, Any]:
    low, high = value
    if not low <= high:
        raise ValueError(f"[{low}, {high}] is no range; give [lowest, highest]")
    return value


FloatRange = Annotated[tuple[float, float], BeforeValidator(_two_numbers), AfterValidator(_rising)]
IntRange = Annotated[tuple[int, int], BeforeValidator(_two_numbers), AfterValidator(_rising)]
