"""The ``launch`` section of a screening file: where on a cluster each stage runs.

The words are those that jobflow-remote and FireWorks share: a worker, the resources that its batch
system is asked for, shell lines before the work. What does not depend on the screen can stand in
a profile, a file of its own.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

Stage = Literal["candidates", "hops", "score", "mace_neb", "dft_neb", "rank"]
"""Stages that may be placed; what only makes other jobs runs where ``launch`` itself says."""

_INHERITED = ("worker", "resources", "environment", "category", "target_minutes")


class StageLaunch(BaseModel):
    """Where one stage runs, and how large its jobs are."""

    model_config = ConfigDict(extra="forbid")

    worker: str | None = Field(
        None, description="worker of the jobflow-remote project, or FireWorks' _fworker"
    )
    resources: dict[str, Any] | None = Field(
        None, description="keys of the batch system's header: nodes, time, gres, …"
    )
    environment: list[str] | None = Field(
        None, description="shell lines before the work: module load, export, source"
    )
    category: str | None = Field(None, description="FireWorks' _category")
    target_minutes: float | None = Field(
        None,
        gt=0,
        le=10_080,
        description="how long one job should last (minutes); left out: mace_neb.batch decides",
    )

    @field_validator("environment", mode="before")
    @classmethod
    def _one_line_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class LaunchOptions(StageLaunch):
    """Where stages run; what a stage does not say, it takes from here."""

    profile: str | None = Field(
        None, description="file with these keys, which the ones given here override"
    )
    stages: dict[Stage, StageLaunch] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _on_top_of_the_profile(cls, given: Any, info: ValidationInfo) -> Any:
        if not isinstance(given, Mapping) or not isinstance(given.get("profile"), str):
            return given
        folder = Path((info.context or {}).get("folder", "."))
        path = folder / Path(given["profile"]).expanduser()
        merged = _merge(_read_profile(path), given)
        return {**merged, "profile": str(path)}

    @field_validator("stages", mode="before")
    @classmethod
    def _known_stages(cls, value: Any) -> Any:
        known = list(get_args(Stage))
        for name in value if isinstance(value, Mapping) else ():
            if name not in known:
                near = difflib.get_close_matches(str(name), known, 1, 0.5)
                hint = f"did you mean '{near[0]}'? " if near else ""
                raise ValueError(f"'{name}' is no stage; {hint}allowed: {', '.join(known)}")
        return value

    def of(self, stage: Stage | None) -> StageLaunch:
        """Return what holds for a stage, or with None for jobs that belong to no stage."""
        own = self.stages.get(stage) if stage else None
        given = own.model_dump(exclude_none=True) if own else {}
        common = {name: getattr(self, name) for name in _INHERITED}
        if given.get("worker", self.worker) != self.worker:
            # Resources and environment belong to a worker.
            common["resources"] = common["environment"] = None
        return StageLaunch(**{**common, **given})


def _read_profile(path: Path) -> dict[str, Any]:
    """Read a profile, and say what is wrong with it by itself."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(
            f"profile {path}: cannot be read ({error.strerror}); `hopscreen init` writes one"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(
            f"profile {path}: not valid YAML: {' '.join(str(error).split())}"
        ) from None
    if not isinstance(content, Mapping):
        raise ValueError(f"profile {path}: holds no settings; `hopscreen init` writes one")
    if "profile" in content:
        raise ValueError(f"profile {path}: names another profile; put everything into one")
    try:
        LaunchOptions.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        keys = LaunchOptions.model_fields if len(first["loc"]) == 1 else StageLaunch.model_fields
        unknown = f"unknown key; allowed: {', '.join(keys)}"
        said = unknown if first["type"] == "extra_forbidden" else first["msg"]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"profile {path}: {where}: {said.removeprefix('Value error, ')}") from None
    return dict(content)


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Put one nested mapping over another."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(old, value) if both else value  # type: ignore[arg-type]
    return merged
