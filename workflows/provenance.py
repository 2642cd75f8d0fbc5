"""Where a document came from: versions, model, job, folder, time."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from jobflow import CURRENT_JOB

from stores.documents import ModelRef, Provenance

_PACKAGES = (
    "hopscreen", "jobflow", "pymatgen", "spglib", "torch", "ase", "mace-torch", "gpaw", "numpy",
)  # fmt: skip


@cache
def package_versions() -> dict[str, str]:
    """Return the versions of the packages that can change a result."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def provenance(
    *, model: ModelRef | None = None, job_uuid: str | None = None, wall_s: float | None = None
) -> Provenance:
    """Describe the present process and moment.

    Parameters
    ----------
    model
        The model or engine behind the numbers.
    job_uuid
        For worker processes, which do not see the job; the current job otherwise.
    wall_s
        Time that the calculation took, seconds.
    """
    return Provenance(
        versions=package_versions(),
        model=model,
        job_uuid=job_uuid or current_job_uuid(),
        folder=str(Path.cwd()),
        wall_s=wall_s,
    )


def current_job_uuid() -> str | None:
    """Return the uuid of the running job, None outside one."""
    job = CURRENT_JOB.job
    return job.uuid if job else None
