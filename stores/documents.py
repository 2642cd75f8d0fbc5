"""The documents of a screen: one pydantic model per collection.

Units stand in the field names. Ids are content hashes (:mod:`stores.hashing`), so the same
thing computed twice is one document, and a second screen reuses the first one's work.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

SCHEMA_VERSION = 2
"""Goes up with any change of the fields below, so that an older hopscreen refuses what it would
misread; :data:`stores.migrate.STEPS` says how documents get there."""

Level = Literal["band", "mlip", "dft"]
"""Levels of a barrier estimate, cheapest first; see :data:`LEVELS`."""

LEVELS: tuple[Level, ...] = ("band", "mlip", "dft")


def as_utc(moment: datetime) -> datetime:
    """Say of a time without a zone, as databases give it, that it is UTC."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


UtcTime = Annotated[datetime, AfterValidator(as_utc)]
"""A moment; what comes back from a store without a zone is UTC."""

Vector3i = tuple[int, int, int]
Interval = tuple[float, float]


class Document(BaseModel):
    """What every document carries."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA_VERSION

    def flaw(self) -> str | None:
        """Say in one line what makes a document useless though its fields have their types."""
        return None


class ModelRef(BaseModel):
    """Identity of the model or engine behind a number."""

    name: str
    sha256: str | None = None
    detail: dict[str, Any] = Field(default_factory=dict)


class Provenance(BaseModel):
    """Where a document came from."""

    versions: dict[str, str] = Field(description="package name → version, hopscreen included")
    model: ModelRef | None = None
    job_uuid: str | None = None
    folder: str | None = None
    created_at: UtcTime = Field(default_factory=lambda: datetime.now(UTC))
    wall_s: float | None = None


class Failure(BaseModel):
    """Why a calculation failed; the message is one line and names a remedy where there is one."""

    kind: str = Field(description="exception class or named cause, to group failures by")
    message: str
    folder: str | None = None


class CandidateDoc(Document):
    """A host structure with its source and its working ion.

    ``structure`` is the ordered primitive cell (pymatgen ``as_dict``, no oxidation states)
    that the hop's site indices refer to. It is None only for a failed candidate.
    """

    candidate_id: str = Field(description="'{material_id}:{working_ion}'")
    material_id: str
    source: str
    formula: str
    working_ion: str
    status: Literal["ok", "rejected", "failed"] = "ok"
    filter_settings: str | None = Field(
        default=None, description="hash of the filters that judged it"
    )
    rejected_by: str | None = Field(default=None, description="name of the filter that refused it")
    structure: dict[str, Any] | None = None
    structure_hash: str | None = None
    num_sites: int | None = None
    inserted: dict[str, Any] | None = Field(
        default=None,
        description="where the ion's sites come from, if the host held none; its hops are dilute",
    )
    energy_above_hull_ev: float | None = Field(default=None, description="eV/atom")
    band_gap_ev: float | None = None
    reference: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    hops_status: Literal["waiting", "done", "failed"] = "waiting"
    hops_settings: str | None = Field(
        default=None, description="hash of the settings that its hops were enumerated with"
    )
    dimension: int | None = Field(default=None, description="dimension its hops reach, 0 to 3")
    screens: list[str] = Field(
        default_factory=list, description="ids of the screens it belongs to; a write adds to them"
    )
    error: Failure | None = None
    provenance: Provenance


class HopDoc(Document):
    """A symmetrically distinct hop of a candidate.

    The ion goes from site ``sites[0]`` of the home cell to site ``sites[1]`` of the cell at
    ``translation`` (lattice vectors of the candidate's primitive cell). ``edges`` lists every
    symmetry equivalent as ``(i, j, a, b, c)``, each undirected edge once, so that the
    percolating network is known from the hop documents alone.
    """

    hop_id: str
    candidate_id: str
    material_id: str
    working_ion: str
    mode: Literal["vacancy", "dilute"] = "vacancy"
    sites: tuple[int, int]
    translation: Vector3i
    length_ang: float
    multiplicity: int = Field(description="equivalents per primitive cell; len(edges)")
    edges: list[tuple[int, int, int, int, int]]
    dimension: int = Field(description="reached by this hop and all shorter ones, 0 to 3")
    recipe_version: int
    provenance: Provenance


class EnergyProfile(BaseModel):
    """Energies along the path, relative to the initial image."""

    coordinate_ang: list[float]
    energy_ev: list[float]


class BarrierDoc(Document):
    """One estimate of one hop's barrier at one level.

    ``barrier_ev`` is the largest climb along the path in either direction: what a network of hops
    has to afford. ``forward_ev`` and ``backward_ev`` are the saddle above either end, ``span_ev``
    is max − min over all images; a path that dips below its ends climbs more than either. The
    band model predicts ``barrier_ev`` alone.
    """

    barrier_id: str
    hop_id: str
    candidate_id: str
    material_id: str
    working_ion: str
    level: Level
    status: Literal["done", "failed"]
    barrier_ev: float | None = None
    interval_90_ev: Interval | None = None
    forward_ev: float | None = None
    backward_ev: float | None = None
    span_ev: float | None = None
    profile: EnergyProfile | None = None
    in_domain: bool = True
    label: str | None = Field(
        default=None, description="a word of warning shown beside the number, e.g. 'demo'"
    )
    num_atoms: int | None = None
    force_calls: int | None = None
    converged: bool | None = None
    warnings: list[str] = Field(default_factory=list)
    blob_id: str | None = Field(default=None, description="images in the additional store")
    settings: dict[str, Any] = Field(default_factory=dict)
    error: Failure | None = None
    provenance: Provenance

    def flaw(self) -> str | None:
        """A finished estimate is a finite number inside of its interval."""
        if self.status == "failed":
            return None
        if self.barrier_ev is None or self.interval_90_ev is None:
            return "done without barrier_ev or interval_90_ev"
        low, high = self.interval_90_ev
        if not -math.inf < low <= self.barrier_ev <= high < math.inf:
            return f"barrier_ev {self.barrier_ev} outside of interval_90_ev ({low}, {high})"
        return None

    def estimate_ev(self) -> tuple[float, Interval]:
        """Return the value and the interval of a finished estimate.

        Raises
        ------
        ValueError
            There is none.
        """
        if self.barrier_ev is None or self.interval_90_ev is None:
            raise ValueError(f"barriers: {self.barrier_id}: {self.flaw() or 'failed'}")
        return self.barrier_ev, self.interval_90_ev


class DimensionLimit(BaseModel):
    """The hop that limits transport through a material in ``dimension`` dimensions."""

    dimension: int
    barrier_ev: float
    interval_90_ev: Interval
    limiting_hop_id: str
    level: Level
    label: str | None = None
    uncalibrated_ev: float | None = Field(
        default=None,
        description="what the level itself said, where dearer levels moved it (calibration)",
    )
    alternatives: list[str] = Field(
        default_factory=list, description="hops that may limit instead, within the intervals"
    )


class RankedDoc(Document):
    """One material: what limits it, and how sure we are.

    Its place among the others is no field: one new estimate moves the places of all materials
    behind it. :func:`stores.queries.ranked` counts it when it is asked for.
    """

    candidate_id: str
    material_id: str
    formula: str
    working_ion: str
    barrier_ev: float
    interval_90_ev: Interval
    uncalibrated_ev: float | None = Field(
        default=None,
        description="what the level itself said, where dearer levels moved it (calibration)",
    )
    level: Level
    label: str | None = None
    dimension: int = Field(description="the dimension that barrier_ev is for")
    limiting_hop_id: str
    limits: dict[Annotated[str, Field(pattern="^[123]$")], DimensionLimit]
    temperature_k: float
    diffusivity_cm2_s: float
    diffusivity_interval_90_cm2_s: Interval
    num_hops: int
    num_failed: int = Field(default=0, description="failed estimates, which rank nothing")
    levels_disagree: bool = Field(
        default=False, description="some hop has estimates whose intervals do not overlap"
    )
    disagreeing_hop_ids: list[str] = Field(
        default_factory=list, description="those hops, for a person to look at"
    )
    elements: list[str] = Field(default_factory=list, description="symbols, sorted")
    cost_usd_per_kg: float | None = Field(
        default=None, description="of its elements, see stores.elements"
    )
    hazard: int | None = Field(
        default=None, description="worst grade of its elements, 0 to 3, see stores.elements"
    )
    energy_above_hull_ev: float | None = None
    band_gap_ev: float | None = None
    source: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    provenance: Provenance


class RankedMaterial(RankedDoc):
    """A :class:`RankedDoc` with its place in the whole ranking, as a query answers."""

    rank: int = Field(description="1 + number of materials before it by (barrier_ev, id)")
