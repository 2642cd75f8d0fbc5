"""``source: optimade``: hosts of any OPTIMADE database, by the consortium's own client.

Needs the ``optimade`` extra. Pages are asked for one at a time, as candidates are taken. A screen
that goes on after a crash reads the listing again (the standard has no cheaper way) and screens
what is new.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field, field_validator
from pymatgen.core import Structure

from stores.documents import Failure
from stores.errors import BadInput
from workflows.sources.base import CandidateRecord, SourceOptions, SourceUnavailable, one_line


class OptimadeOptions(SourceOptions):
    """A query of one database; the working ion is always asked for."""

    source: Literal["optimade"]
    url: str = Field(description="base URL, e.g. https://optimade.materialsproject.org")
    filter: str | None = Field(
        None, description='OPTIMADE filter, e.g. nelements<=4 AND NOT elements HAS "Hg"'
    )
    limit: int | None = Field(None, ge=1, description="at most so many, in the server's order")
    timeout: int = Field(
        60, ge=1, le=600, description="for one answer (s)", json_schema_extra={"unit": "s"}
    )

    @field_validator("url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        if not value.startswith(("https://", "http://")):
            raise ValueError("give the base URL of an OPTIMADE database, https://…")
        return value.rstrip("/")

    def records(
        self, working_ion: str, known: Container[str] = frozenset()
    ) -> Iterator[CandidateRecord]:
        """Yield the matching structures, page by page.

        Raises
        ------
        BadInput
            The extra is not installed; the filter is no OPTIMADE filter.
        SourceUnavailable
            The server does not answer, or answers with errors.
        """
        asked = f'elements HAS "{working_ion}"'
        if self.filter:
            asked = f"{asked} AND ({self.filter})"
        count = 0
        for page in _pages(self.url, asked, self.timeout):
            prefix = (page["meta"].get("provider") or {}).get("prefix") or "optimade"
            facts = {
                "database": self.url,
                "query": asked,
                "retrieved_at": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            for entry in page["data"]:
                if count == self.limit:
                    return
                count += 1
                material_id = f"{prefix}/{entry.get('id')}"
                if material_id in known:
                    yield CandidateRecord(material_id, self.source, known=True)
                else:
                    yield _record(material_id, entry, facts)


def _pages(url: str, asked: str, timeout_s: int) -> Iterator[dict[str, Any]]:
    """Yield the answers of the server, following its links."""
    try:
        from optimade.client import OptimadeClient
        from optimade.exceptions import BadRequest
        from optimade.filterparser import LarkParser
    except ImportError:
        raise BadInput(
            "candidates.source: optimade is not installed; pip install 'hopscreen[optimade]'"
        ) from None
    try:
        LarkParser().parse(asked)
    except BadRequest as error:
        raise BadInput(
            f"candidates.filter: no OPTIMADE filter: {error.detail.splitlines()[0]}"
        ) from None
    answers: list[dict[str, Any]] = []
    client = OptimadeClient(
        base_urls=[url],
        http_timeout=timeout_s,
        max_attempts=3,
        use_async=False,
        silent=True,
        # What get_one returns has lost the link to the next page.
        callbacks=[lambda _, answer: answers.append(answer)],
    )
    following: str | None = None
    while True:
        answers.clear()
        result = client.get_one(
            "structures", asked, url, paginate=False, override_url=following
        ).popitem()[1]
        if result.errors or not answers:
            said = one_line(ValueError(result.errors[0] if result.errors else "no answer"), 160)
            raise SourceUnavailable(
                f"OPTIMADE {url}: {said}; check the URL and the network, then run the same "
                "command again"
            )
        (answer,) = answers
        yield answer
        link = (answer.get("links") or {}).get("next")
        following = link.get("href") if isinstance(link, dict) else link
        if not following:
            return


def _record(material_id: str, entry: dict[str, Any], facts: dict[str, Any]) -> CandidateRecord:
    from optimade.adapters import Structure as Entry

    try:
        structure = Entry(entry).as_pymatgen
        if not isinstance(structure, Structure):
            raise ValueError("it is not periodic in three dimensions")
    # Servers differ in what they leave out: whatever is wrong is its record's error.
    except Exception as error:
        return CandidateRecord(
            material_id,
            "optimade",
            reference=facts["database"],
            metadata=facts,
            error=Failure(
                kind="InvalidDocument", message=f"{material_id}: no host in it: {one_line(error)}"
            ),
        )
    return CandidateRecord(
        material_id, "optimade", structure=structure, reference=facts["database"], metadata=facts
    )
