"""The filter with a memory: the same crystal from two sources is screened once."""

from __future__ import annotations

from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from workflows.filters import Refused
from workflows.hosts import PackedHost, pack, unpack

DUPLICATE_VOLUME = 0.1
"""Relative difference of volume up to which two hosts may be one crystal: thermal expansion and
the errors of functionals lie below."""


class Duplicates:
    """Hosts seen so far, so that the same crystal from two sources is screened once.

    Equal structure hashes are duplicates at once. Hosts of one formula, with as many atoms and
    nearly the volume, are compared by pymatgen's StructureMatcher.
    """

    def __init__(self) -> None:
        self._by_hash: dict[tuple[str, bool], str] = {}
        self._like: dict[_Kind, list[tuple[str, PackedHost]]] = {}
        self._matcher = StructureMatcher(primitive_cell=False, attempt_supercell=False)

    def add(
        self, material_id: str, host: Structure, host_hash: str, inserted: bool = False
    ) -> None:
        """Remember a host.

        Parameters
        ----------
        material_id
            Named in the refusal of later duplicates.
        host
            Ordered primitive cell, of :func:`workflows.hosts.prepare_host`.
        host_hash
            Of :func:`workflows.hosts.structure_hash`.
        inserted
            Its ions are inserted ones: it is a charged host, and not its discharged twin.

        Raises
        ------
        Refused
            It is the same crystal as one seen before, which the reason names.
        """
        same = self._by_hash.get((host_hash, inserted)) or self._match(host, inserted)
        if same is not None:
            raise Refused("duplicates", f"is the same crystal as {same}")
        self.remember(material_id, host, host_hash, inserted)

    def remember(
        self, material_id: str, host: Structure, host_hash: str, inserted: bool = False
    ) -> None:
        """Remember a host that is known to be no duplicate."""
        self._by_hash[host_hash, inserted] = material_id
        self._like.setdefault(_kind(host, inserted), []).append((material_id, pack(host)))

    def _match(self, host: Structure, inserted: bool) -> str | None:
        for other_id, packed in self._like.get(_kind(host, inserted), ()):
            other = unpack(packed)
            near = abs(other.volume / host.volume - 1) < DUPLICATE_VOLUME
            if near and self._matcher.fit(host, other):
                return other_id
        return None


_Kind = tuple[str, int, bool]


def _kind(host: Structure, inserted: bool) -> _Kind:
    return host.composition.reduced_formula, len(host), inserted
