"""One fixture, two homes: every test of the store runs on a folder and on a MongoDB server."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stores.documents import BarrierDoc, CandidateDoc, Failure, HopDoc, Provenance
from stores.hashing import content_hash
from stores.screen_store import ScreenStore, open_store

_names = itertools.count()


@pytest.fixture(params=["folder", "mongodb"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a new, empty store may be made."""
    if request.param == "folder":
        return str(tmp_path / "screen")
    return f"{request.getfixturevalue('mongo_server')}/screen_{next(_names)}"


@pytest.fixture
def store(uri: str) -> Iterator[ScreenStore]:
    """A new, empty store."""
    with open_store(uri) as opened:
        yield opened


class Samples:
    """Documents with only what a test is about."""

    provenance = Provenance(versions={"hopscreen": "0"}, folder="/calc")

    def candidate(self, material: str = "m", ion: str = "Li", **more: Any) -> CandidateDoc:
        fields = {"formula": f"{ion}{material}", "source": "test"} | more
        return CandidateDoc(
            candidate_id=f"{material}:{ion}",
            material_id=material,
            working_ion=ion,
            provenance=self.provenance,
            **fields,
        )

    def hop(
        self, hop_id: str, edges: list[tuple[int, ...]], material: str = "m", **more: Any
    ) -> HopDoc:
        ion = more.pop("ion", "Li")
        i, j, *translation = edges[0]
        fields = {"length_ang": 3.0, "dimension": 1, "recipe_version": 1} | more
        return HopDoc(
            hop_id=hop_id,
            candidate_id=f"{material}:{ion}",
            material_id=material,
            working_ion=ion,
            sites=(i, j),
            translation=tuple(translation),
            multiplicity=len(edges),
            edges=edges,
            provenance=self.provenance,
            **fields,
        )

    def barrier(
        self, hop: HopDoc, level: str, value: float | None, half: float = 0.1, **more: Any
    ) -> BarrierDoc:
        settings = more.pop("settings", {})
        fields: dict[str, Any] = {"status": "done" if value is not None else "failed"}
        if value is not None:
            fields |= {"barrier_ev": value, "interval_90_ev": (value - half, value + half)}
        else:
            fields["error"] = Failure(kind="NotConverged", message="NEB did not converge")
        return BarrierDoc(
            barrier_id=content_hash([hop.hop_id, level, settings]),
            hop_id=hop.hop_id,
            candidate_id=hop.candidate_id,
            material_id=hop.material_id,
            working_ion=hop.working_ion,
            level=level,
            settings=settings,
            **({"provenance": self.provenance} | fields | more),
        )


@pytest.fixture(scope="session")
def samples() -> Samples:
    """Builders of small documents."""
    return Samples()
