"""The screening file: what a screen looks at, and how far each hop may climb.

``load_spec`` reads the YAML and answers every mistake with one line that names the file, the
field and what would be right.
"""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from stores.documents import Level
from stores.errors import BadInput
from stores.hashing import content_hash
from workflows.filters import FilterOptions
from workflows.insertion import InsertionOptions
from workflows.launch_options import LaunchOptions
from workflows.sources import CandidateOptions

NEB_STAGES: dict[Level, str] = {"mlip": "mace_neb", "dft": "dft_neb"}
"""Level of the estimates → section of the screening file, and name of the stage."""

WORKING_IONS = ("Li", "Na", "K", "Rb", "Mg", "Ca", "Sr", "Zn", "Al")
"""Ions that the band model has been trained on."""


class Options(BaseModel):
    """A section of the screening file: unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", strict=False)


def _quantity(default: float, unit: str, description: str, **bounds: Any) -> Any:
    """Describe a number with its unit, which error messages repeat."""
    return Field(
        default, description=f"{description} ({unit})", json_schema_extra={"unit": unit}, **bounds
    )


class HopOptions(Options):
    """Which hops are enumerated, and in what supercell they are computed."""

    dimension: Literal[1, 2, 3] = Field(1, description="percolation wanted, in dimensions")
    max_length: float = _quantity(6.5, "Å", "longest hop looked at", gt=1.0, le=12.0)
    mode: Literal["vacancy", "dilute"] = Field(
        "vacancy", description="other working ions stay (vacancy) or leave (dilute)"
    )
    min_supercell: float = _quantity(
        8.0, "Å", "shortest supercell vector: the ion's distance to its images", ge=4.0, le=30.0
    )
    max_atoms: int = Field(200, ge=8, le=2000, description="largest supercell")


class ScoreOptions(Options):
    """The band model's part."""

    model: str = Field("default", description="shipped name, imported name, or a folder")
    batch_size: int = Field(256, ge=1, le=100_000, description="hops in memory at once")


class MaceNebOptions(Options):
    """NEB with an interatomic potential for the most promising hops."""

    model: str = Field(
        "medium-mpa-0",
        description="'mini', a MACE foundation name, a file, 'chgnet', or an installed engine",
    )
    top: int = Field(200, ge=0, description="hops that climb to this stage")
    select: Literal["improvement", "estimate"] = Field(
        "improvement",
        description="which hops: most expected improvement for its price, or lowest estimate",
    )
    fmax: float = _quantity(0.05, "eV/Å", "largest force at convergence", gt=0, le=1.0)
    images: int | Literal["auto"] = Field(
        "auto", description="between the end points; auto: at most 0.8 Å apart"
    )
    max_force_calls: int = Field(
        1500, ge=10, le=1_000_000, description="budget of one hop, end points included"
    )
    give_up_above: float | None = Field(
        3.0,
        gt=0,
        description="a band loosely relaxed to more is not relaxed further; null: all are (eV)",
        json_schema_extra={"unit": "eV"},
    )
    batch: int = Field(16, ge=1, description="hops in one job")

    @field_validator("images")
    @classmethod
    def _images_in_range(cls, value: int | str) -> int | str:
        if isinstance(value, int) and not 1 <= value <= 25:
            raise ValueError("must be 'auto' or from 1 to 25")
        return value


class DftNebOptions(Options):
    """NEB with density-functional theory for the best hops of all."""

    engine: str = Field("gpaw", description="gpaw, or another installed engine")
    preset: str = Field(
        "production", description="named settings of the engine, or a YAML file with one's own"
    )
    start: Literal["mlip", "idpp", "linear"] = Field(
        "mlip",
        description="initial path; mlip: that of mace_neb's potential, which then goes ahead of "
        "the engine; idpp where it has none",
    )
    top: int = Field(20, ge=0, description="hops that climb to this stage")
    select: Literal["improvement", "estimate"] = Field(
        "improvement",
        description="which hops: most expected improvement for its price, or lowest estimate",
    )


class RankOptions(Options):
    """How materials are compared."""

    temperature: float = _quantity(300.0, "K", "of the diffusivity estimate", gt=0, le=3000)


class StoreSpec(Options):
    """Where results are kept; left out: a folder beside the screening file."""

    uri: str = Field(description="a folder, or mongodb://host[:port]")
    database: str | None = Field(None, description="MongoDB database")


class ScreenSpec(Options):
    """A whole screening file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    working_ion: str
    candidates: CandidateOptions
    filters: FilterOptions = Field(default_factory=FilterOptions)
    insertion: InsertionOptions | None = Field(
        None, description="left out: hosts without the working ion are refused"
    )
    hops: HopOptions = Field(default_factory=HopOptions)
    score: ScoreOptions = Field(default_factory=ScoreOptions)
    mace_neb: MaceNebOptions | None = Field(None, description="left out: no such stage")
    dft_neb: DftNebOptions | None = Field(None, description="left out: no such stage")
    rank: RankOptions = Field(default_factory=RankOptions)
    store: StoreSpec | None = None
    launch: LaunchOptions = Field(
        default_factory=LaunchOptions, description="where stages run on a cluster"
    )

    @field_validator("working_ion")
    @classmethod
    def _known_ion(cls, value: str) -> str:
        if value not in WORKING_IONS:
            raise ValueError(f"'{value}' is no known working ion; use {', '.join(WORKING_IONS)}")
        return value

    def neb_options(self, level: Level) -> MaceNebOptions | DftNebOptions | None:
        """Return the section of a NEB stage, None where it is left out."""
        options: MaceNebOptions | DftNebOptions | None = getattr(self, NEB_STAGES[level])
        return options

    @property
    def screen_id(self) -> str:
        """Name the set of candidates: two specs that differ only in later stages share it."""
        asked = self.model_dump(mode="json", include={"working_ion", "candidates", "filters"})
        if self.insertion:
            asked["insertion"] = self.insertion.model_dump(mode="json")
        return f"{self.name}-{content_hash(asked)[:8]}"


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML that refuses a key given twice, where plain YAML would drop the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key '{key}' is given twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_spec(path: str | Path) -> ScreenSpec:
    """Read and validate a screening file.

    Relative paths in ``candidates`` are taken from the file's folder.

    Raises
    ------
    BadInput
        One line with the file, the field and what is allowed.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(
            f"{path}: cannot be read ({error.strerror}); give a screening file"
        ) from None
    except UnicodeDecodeError:
        raise BadInput(f"{path}: is not text; give a YAML screening file") from None
    try:
        # A SafeLoader subclass: builds plain values only.
        content = yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise BadInput(f"{path}: {where}not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise BadInput(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, Mapping):
        raise BadInput(
            f"{path}: holds no settings; a screening file needs name, working_ion and candidates"
        )
    try:
        return ScreenSpec.model_validate(dict(content), context={"folder": path.parent})
    except ValidationError as error:
        raise BadInput(f"{path}: {_explain(error.errors()[0])}") from None


def _explain(error: ErrorDetails) -> str:
    """Say one pydantic error as 'field: what is wrong; what is allowed'."""
    location = [part for part in error["loc"] if isinstance(part, int) or "[" not in part]
    model, fields = _enclosing_model(location)
    # A discriminated union puts its tag into the location; the file has no such key.
    field = ".".join(str(part) for part in fields) or "file"
    kind, value = error["type"], error.get("input")
    known = model.model_fields if model else {}
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(fields[-1]), list(known), 1, 0.5)
        hint = f"did you mean '{near[0]}'? " if near else ""
        return f"{field}: unknown key; {hint}allowed: {', '.join(known)}"
    if kind == "missing":
        return f"{field}: is missing; it is required"
    message = error["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    info = known.get(str(fields[-1])) if fields else None
    extra = info.json_schema_extra if info else None
    unit = f" (a number in {extra['unit']})" if isinstance(extra, dict) and "unit" in extra else ""
    shown = "" if isinstance(value, (dict, list)) or repr(value) in message else f"{value!r}: "
    return f"{field}: {shown}{message}{unit}"


def _enclosing_model(
    location: list[int | str],
) -> tuple[type[BaseModel] | None, list[int | str]]:
    """Walk a location down the spec; return the last section and the keys as the file has them."""
    model: type[BaseModel] | None = ScreenSpec
    fields: list[int | str] = []
    owner: type[BaseModel] | None = ScreenSpec
    choices: tuple[type[BaseModel], ...] = ()
    for part in location:
        tagged = [c for c in choices if str(part) in get_args(c.model_fields["source"].annotation)]
        if tagged:
            owner = model = tagged[0]
            choices = ()
            continue
        fields.append(part)
        owner = model or owner
        info = model.model_fields.get(str(part)) if model else None
        sections = _sections(info.annotation) if info else ()
        model = sections[0] if len(sections) == 1 else None
        choices = sections if len(sections) > 1 else ()
    return owner, fields


def _sections(annotation: Any) -> tuple[type[BaseModel], ...]:
    """Return the option models in an annotation, inside unions and Annotated."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    return tuple(section for inner in get_args(annotation) for section in _sections(inner))
