"""``source: files``: structure files on disk (CIF, POSCAR, pymatgen JSON, whatever ASE reads)."""

from __future__ import annotations

import glob
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from stores.documents import Failure
from stores.errors import BadInput
from stores.hashing import file_sha256
from workflows.hosts import read_structure
from workflows.sources.base import CandidateRecord, SourceOptions, one_line


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class FilesOptions(SourceOptions):
    """Structure files by path or glob; relative ones count from the screening file's folder."""

    source: Literal["files"]
    paths: Annotated[list[str], BeforeValidator(_as_list)] = Field(
        min_length=1, description="paths or globs, e.g. cifs/**/*.cif"
    )

    @field_validator("paths")
    @classmethod
    def _from_the_folder(cls, value: list[str], info: ValidationInfo) -> list[str]:
        folder = (info.context or {}).get("folder")
        if folder is None:
            return value
        base = Path(folder).expanduser().resolve()
        return [str(base / Path(path).expanduser()) for path in value]

    def records(
        self, working_ion: str, known: Container[str] = frozenset()
    ) -> Iterator[CandidateRecord]:
        """Yield one record per file, sorted by path; a bad file becomes a record with its error.

        The id is the file's stem and a hash of its content, so that an edited file is a new
        candidate and two files of one name do not clash.
        """
        for path in self.matches():
            digest = None
            try:
                digest = file_sha256(path)
                material_id = f"{path.stem}-{digest[:8]}"
                if material_id in known:
                    yield CandidateRecord(material_id, "files", known=True)
                    continue
                structure = read_structure(path)
            except (BadInput, OSError) as error:
                yield CandidateRecord(
                    material_id=f"{path.stem}-{digest[:8] if digest else 'unreadable'}",
                    source="files",
                    reference=path.name,
                    error=Failure(kind=type(error).__name__, message=one_line(error)),
                )
                continue
            yield CandidateRecord(
                material_id=material_id,
                source="files",
                structure=structure,
                reference=path.name,
                metadata={"path": str(path), "sha256": digest},
            )

    def matches(self) -> list[Path]:
        """Return the files that the globs match, each once, sorted.

        Raises
        ------
        BadInput
            When a path or glob matches no file.
        """
        found: set[Path] = set()
        for pattern in self.paths:
            hits = {Path(hit) for hit in glob.glob(pattern, recursive=True)}  # noqa: PTH207
            hits = {hit for hit in hits if hit.is_file()}
            if not hits:
                raise BadInput(f"candidates.paths: {pattern}: no such file; check the path or glob")
            found |= hits
        return sorted(found)
