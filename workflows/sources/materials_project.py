"""``source: materials_project``: hosts of the Materials Project, by its own client.

A screen first asks for the ids that match (they are light), then fetches the documents page by
page, only of ids that the caller has not got: a screen that stopped at page 30 goes on at page
30, and one with overlapping filters fetches only what is new.

The key is the client's business: ``MP_API_KEY`` in the environment or ``PMG_MAPI_KEY`` in the
pymatgen settings. It is never read from a screening file, never stored, never logged.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pymatgen.core import Element, Structure

from stores.documents import Failure
from workflows.batches import batched
from workflows.sources.base import (
    CandidateRecord,
    FloatRange,
    IntRange,
    SourceOptions,
    one_line,
)

FIELDS = ["material_id", "structure", "energy_above_hull", "band_gap", "is_stable", "theoretical"]
"""What is fetched of a summary document: it has seventy fields more."""

PAGE = 200
"""Documents of one request: what a crash fetches again."""


class MaterialsProjectOptions(SourceOptions):
    """What to ask of the Materials Project; the working ion is always asked for."""

    source: Literal["materials_project"]
    elements: list[str] = Field(default_factory=list, description="all of them in the host")
    exclude_elements: list[str] = Field(default_factory=list, description="none in the host")
    chemsys: list[str] | str | None = Field(None, description="e.g. Li-P-S, or Li-*-O")
    possible_species: list[str] = Field(default_factory=list, description="e.g. Fe3+")
    num_elements: IntRange | None = Field(None, description="[fewest, most]")
    num_sites: IntRange | None = Field(None, description="[fewest, most]")
    energy_above_hull: FloatRange | None = Field(
        None, description="[lowest, highest] (eV/atom)", json_schema_extra={"unit": "eV/atom"}
    )
    band_gap: FloatRange | None = Field(
        None, description="[lowest, highest] (eV)", json_schema_extra={"unit": "eV"}
    )
    is_stable: bool | None = None
    theoretical: bool | None = Field(None, description="false: experimentally known only")
    deprecated: bool = False
    spacegroup_number: int | None = Field(None, ge=1, le=230)
    material_ids: list[str] | None = Field(None, min_length=1, description="these alone")
    limit: int | None = Field(None, ge=1, description="at most so many, by rising id")
    timeout: int = Field(
        60, ge=1, le=600, description="for one answer (s)", json_schema_extra={"unit": "s"}
    )

    @field_validator("elements", "exclude_elements")
    @classmethod
    def _are_elements(cls, value: list[str]) -> list[str]:
        for symbol in value:
            if not Element.is_valid_symbol(symbol):
                raise ValueError(f"'{symbol}' is no element symbol")
        return value

    @field_validator("material_ids")
    @classmethod
    def _are_ids(cls, value: list[str] | None) -> list[str] | None:
        for material_id in value or ():
            if not re.fullmatch(r"(mp|mvc)-[0-9a-z]+", material_id):
                raise ValueError(f"'{material_id}' is no Materials Project id, such as mp-19017")
        return value

    @field_validator("energy_above_hull", "band_gap")
    @classmethod
    def _in_electronvolts(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value and (value[0] < 0 or value[1] > 50):
            raise ValueError(f"{list(value)} is out of range; give electronvolts from 0 to 50")
        return value

    def query(self, working_ion: str) -> dict[str, Any]:
        """Return the search arguments of the client; never empty, which would mean everything."""
        asked = self.model_dump(exclude={"source", "limit", "timeout", "elements"})
        if not self.material_ids and not self.chemsys:
            asked["elements"] = sorted({*self.elements, working_ion})
        elif self.elements:
            asked["elements"] = sorted(set(self.elements))
        return {key: value for key, value in asked.items() if value is not None and value != []}

    def check(self) -> None:
        """Refuse a screen without a key that could be one."""
        from workflows.sources.mp_client import api_key

        api_key()

    def records(
        self, working_ion: str, known: Container[str] = frozenset()
    ) -> Iterator[CandidateRecord]:
        """Yield the matching materials by rising id, page by page.

        Raises
        ------
        BadInput
            No key, a key of the wrong form, or one that the server refuses; a query that it
            does not understand.
        SourceUnavailable
            No network, no answer in time, or a failing server, after all retries.
        """
        # The client takes seconds to import: screens of other sources do without.
        from workflows.sources.mp_client import Summary

        summary = Summary(self.timeout)
        query = self.query(working_ion)
        ids = summary.ids(_one_by_one(query))[: self.limit]
        facts = {
            "database": "Materials Project",
            "database_version": summary.database_version,
            "query": query,
        }
        missing: list[str] = []
        for material_id in ids:
            if material_id in known:
                yield CandidateRecord(material_id, self.source, known=True)
            else:
                missing.append(material_id)
        for page in batched(missing, PAGE):
            documents = summary.documents(page, FIELDS)
            retrieved_at = datetime.now(UTC).isoformat(timespec="seconds")
            for material_id in page:
                yield _record(
                    material_id,
                    documents.get(material_id),
                    {**facts, "retrieved_at": retrieved_at},
                )


def _one_by_one(query: dict[str, Any]) -> list[dict[str, Any]]:
    """Split a list of chemical systems with wildcards, which the server takes one at a time."""
    systems = query.get("chemsys")
    if isinstance(systems, list) and any("*" in system for system in systems):
        return [{**query, "chemsys": system} for system in systems]
    return [query]


class _SummaryFields(BaseModel):
    """The fields that a candidate is made of, as the server gives them."""

    model_config = ConfigDict(extra="ignore")

    material_id: str
    structure: dict[str, Any]
    energy_above_hull: float | None = None
    band_gap: float | None = None
    is_stable: bool | None = None
    theoretical: bool | None = None


def _record(
    material_id: str, document: dict[str, Any] | None, facts: dict[str, Any]
) -> CandidateRecord:
    """Make a candidate of one document, or a record with the reason why not."""
    reference = f"Materials Project {material_id}"
    try:
        if document is None:
            raise ValueError("the server did not return it; it may have been withdrawn")
        fields = _SummaryFields.model_validate(document)
        structure = Structure.from_dict(fields.structure)
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        return CandidateRecord(
            material_id,
            "materials_project",
            reference=reference,
            metadata=facts,
            error=Failure(
                kind="InvalidDocument",
                message=f"{material_id}: the document does not validate: {one_line(error)}",
            ),
        )
    return CandidateRecord(
        material_id,
        "materials_project",
        structure=structure,
        reference=reference,
        energy_above_hull_ev=fields.energy_above_hull,
        band_gap_ev=fields.band_gap,
        metadata={**facts, "is_stable": fields.is_stable, "theoretical": fields.theoretical},
    )
