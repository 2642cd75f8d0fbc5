"""Symmetrically distinct hops of a host's working ion, exact and fast.

A hop is an undirected periodic edge: from site ``i`` of the home cell to site ``j`` of the cell
at a lattice vector. Space-group operations map edges onto edges; with the sites' images known
as integers (a permutation and a lattice shift for each operation), the orbits follow in exact
integer arithmetic, and no two hops are compared by distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from pymatgen.core import Element, Lattice, Structure
from pymatgen.optimization.neighbors import find_points_in_spheres

from stores.documents import CandidateDoc, HopDoc, Provenance
from stores.hashing import content_hash
from stores.network import Edge, PeriodicNetwork
from workflows.hosts import SYMPREC_ANG, Unfit
from workflows.symmetry import find_operations

RECIPE_VERSION = 1
"""Version of the rules by which hops are found; a new one makes new hop ids."""

PERCOLATION_MARGIN_ANG = 0.05
"""Hops this little longer than the one that makes the ion percolate are taken along."""

_LENGTH_DIGITS = 4
"""Lengths that agree to 0.0001 Å are equal when hops are put in order."""


@dataclass(frozen=True)
class Hop:
    """A symmetrically distinct hop.

    Attributes
    ----------
    sites
        Indices ``(i, j)`` in the prepared host.
    translation
        Lattice vector of the cell that ``j`` lies in.
    length_ang
        Straight length in Å.
    edges
        All equivalents ``(i, j, a, b, c)`` in one primitive cell, each undirected edge once,
        sorted; the first one is this hop.
    dimension
        Reached by this hop and all shorter ones, 0 to 3.
    """

    sites: tuple[int, int]
    translation: tuple[int, int, int]
    length_ang: float
    edges: tuple[Edge, ...]
    dimension: int

    @property
    def multiplicity(self) -> int:
        """Equivalents per primitive cell."""
        return len(self.edges)

    @classmethod
    def from_doc(cls, doc: HopDoc) -> Hop:
        """Return the hop that a document describes."""
        edges = tuple(doc.edges)
        return cls(doc.sites, doc.translation, doc.length_ang, edges, doc.dimension)


@dataclass(frozen=True)
class HopSet:
    """The distinct hops of a host.

    Attributes
    ----------
    hops
        By rising length.
    cutoff_ang
        Longest hop looked at.
    dimension
        Percolation that all of them reach together, 0 to 3.
    """

    hops: tuple[Hop, ...]
    cutoff_ang: float
    dimension: int


def distinct_hops(
    host: Structure,
    working_ion: str,
    *,
    dimension: int = 1,
    max_length_ang: float = 6.5,
    symprec_ang: float = SYMPREC_ANG,
) -> HopSet:
    """Find the distinct hops up to the shortest cutoff at which the ion percolates.

    Parameters
    ----------
    host
        Ordered structure, usually from :func:`workflows.hosts.prepare_host`.
    working_ion
        Element symbol.
    dimension
        Percolation wanted, 1 to 3.
    max_length_ang
        Cap of the cutoff in Å. Where the ion does not percolate below it, all hops below it
        are returned and the set's ``dimension`` says what they reach.
    symprec_ang
        Tolerance of the symmetry search in Å.

    Raises
    ------
    Unfit
        The host has no working ion.
    """
    everything = hops_within(host, working_ion, max_length_ang, symprec_ang=symprec_ang)
    enough = [hop for hop in everything.hops if hop.dimension >= dimension]
    if not enough:
        return everything
    cutoff = min(enough[0].length_ang + PERCOLATION_MARGIN_ANG, max_length_ang)
    hops = tuple(hop for hop in everything.hops if hop.length_ang <= cutoff)
    return HopSet(hops, cutoff, hops[-1].dimension)


def hops_within(
    host: Structure, working_ion: str, cutoff_ang: float, *, symprec_ang: float = SYMPREC_ANG
) -> HopSet:
    """Find all distinct hops that are not longer than ``cutoff_ang``.

    Two hops are the same if a space-group operation of the host, a lattice translation or a
    change of direction turns one into the other. An ion's hop onto its own image counts.

    Raises
    ------
    Unfit
        The host has no working ion.
    """
    numbers = np.array([site.specie.Z for site in host])
    ions = np.flatnonzero(numbers == Element(working_ion).Z)
    if len(ions) == 0:
        raise Unfit("no_working_ion", f"{host.formula} has no {working_ion}")
    coords = host.frac_coords[ions]
    # Equivalent hops differ in length by the noise that symprec admits: seen with a margin, no
    # orbit is cut in two at the cutoff.
    near = _neighbor_edges(host.lattice, coords, cutoff_ang + 2 * symprec_ang)
    if len(near) == 0:
        return HopSet((), cutoff_ang, 0)
    edges, orbit_of = _orbits(near, _site_images(host, numbers, ions, symprec_ang))
    steps = coords[edges[:, 1]] - coords[edges[:, 0]] + edges[:, 2:]
    lengths = np.linalg.norm(steps @ host.lattice.matrix, axis=1)
    edges[:, :2] = ions[edges[:, :2]]
    order = np.argsort(orbit_of, kind="stable")
    starts = np.flatnonzero(np.diff(orbit_of[order], prepend=-1))
    means = np.add.reduceat(lengths[order], starts) / np.diff(starts, append=len(order))
    rows = [(i, j, a, b, c) for i, j, a, b, c in edges[order].tolist()]
    bounds = pairwise([*starts.tolist(), len(rows)])
    found = sorted(
        (round(mean, _LENGTH_DIGITS), tuple(rows[first:last]), round(mean, 6))
        for mean, (first, last) in zip(means.tolist(), bounds, strict=True)
        if mean <= cutoff_ang + 1e-8
    )
    network = PeriodicNetwork()
    hops = []
    for _, orbit, length in found:
        i, j, a, b, c = orbit[0]
        hops.append(Hop((i, j), (a, b, c), length, orbit, network.add(orbit)))
    return HopSet(tuple(hops), cutoff_ang, network.dimension)


def hop_id(candidate_id: str, host_hash: str, hop: Hop, mode: str) -> str:
    """Return a hop's id: the same candidate, host, hop and mode give the same document.

    The candidate is part of it, because a hop document belongs to one candidate: two candidates
    that are the same crystal must not take each other's hops.
    """
    return content_hash(
        [candidate_id, host_hash, list(hop.sites), list(hop.translation), mode, RECIPE_VERSION]
    )


def to_doc(hop: Hop, candidate: CandidateDoc, mode: str, provenance: Provenance) -> HopDoc:
    """Return the document of a candidate's hop."""
    return HopDoc(
        hop_id=hop_id(candidate.candidate_id, candidate.structure_hash or "", hop, mode),
        candidate_id=candidate.candidate_id,
        material_id=candidate.material_id,
        working_ion=candidate.working_ion,
        mode="dilute" if mode == "dilute" else "vacancy",
        sites=hop.sites,
        translation=hop.translation,
        length_ang=hop.length_ang,
        multiplicity=hop.multiplicity,
        edges=list(hop.edges),
        dimension=hop.dimension,
        recipe_version=RECIPE_VERSION,
        provenance=provenance,
    )


def _neighbor_edges(lattice: Lattice, coords: np.ndarray, cutoff: float) -> np.ndarray:
    """Return all undirected edges up to ``cutoff``, canonical, shape (m, 5)."""
    cartesian = np.ascontiguousarray(coords @ lattice.matrix)
    first, second, images, distances = find_points_in_spheres(
        cartesian, cartesian, r=cutoff, pbc=np.array([1, 1, 1]), lattice=lattice.matrix.copy()
    )
    edges = np.column_stack([first, second, np.round(images)]).astype(np.int64)
    edges = _canonical(edges[distances > 1e-6])
    # Each edge was found from both of its ends.
    return edges[np.unique(_keys(edges), return_index=True)[1]] if len(edges) else edges


@dataclass(frozen=True)
class _SiteImages:
    """Images of the sites under each operation: R x_i + t = x_permuted(i) + shift(i)."""

    rotations: np.ndarray  # (operations, 3, 3) integers
    permutations: np.ndarray  # (operations, sites)
    shifts: np.ndarray  # (operations, sites, 3) integers


def _site_images(
    host: Structure, numbers: np.ndarray, ions: np.ndarray, symprec: float
) -> _SiteImages:
    found = find_operations(host.lattice.matrix, host.frac_coords, numbers, symprec)
    permutations = np.searchsorted(ions, found.images[:, ions])
    coords = host.frac_coords[ions]
    images = coords @ found.rotations.transpose(0, 2, 1) + found.translations[:, None]
    shifts = np.round(images - coords[permutations]).astype(np.int64)
    return _SiteImages(found.rotations, permutations, shifts)


def _orbits(edges: np.ndarray, images: _SiteImages) -> tuple[np.ndarray, np.ndarray]:
    """Complete edges to whole orbits.

    Returns
    -------
    edges : ndarray, shape (n, 5)
        Canonical and sorted.
    orbit_of : ndarray, shape (n,)
        Number of the first edge of each edge's orbit.
    """
    i, j, step = edges[:, 0], edges[:, 1], edges[:, 2:]
    turned = np.einsum("kxy,ey->kex", images.rotations, step)
    turned += images.shifts[:, j] - images.shifts[:, i]
    ends = np.stack([images.permutations[:, i], images.permutations[:, j]], axis=-1)
    mapped = _canonical(np.concatenate([ends, turned], axis=-1).reshape(-1, 5))
    unique, index = np.unique(_keys(mapped), return_inverse=True)
    index = index.reshape(len(images.rotations), len(edges))
    all_edges = np.empty((len(unique), 5), dtype=np.int64)
    all_edges[index.ravel()] = mapped
    # Images of one edge share the lowest label that any of them has, until none is lowered: twice
    # for operations that form a group, as they do but for the tolerance.
    label = np.arange(len(unique))
    while True:
        lowest = np.broadcast_to(label[index].min(axis=0), index.shape)
        lowered = label.copy()
        np.minimum.at(lowered, index, lowest)
        if np.array_equal(lowered, label):
            return all_edges, label
        label = lowered


def _canonical(edges: np.ndarray) -> np.ndarray:
    """Turn each edge into the direction with i < j, or i = j and a positive first step."""
    i, j, step = edges[:, 0], edges[:, 1], edges[:, 2:]
    leading = np.where(
        step[:, 0] != 0, step[:, 0], np.where(step[:, 1] != 0, step[:, 1], step[:, 2])
    )
    flip = (i > j) | ((i == j) & (leading < 0))
    reverse = np.column_stack([j, i, -step])
    return np.where(flip[:, None], reverse, edges)


def _keys(edges: np.ndarray) -> np.ndarray:
    """Number edges so that the numbers sort as the edges do."""
    low = edges.min(axis=0)
    spans = edges.max(axis=0) - low + 1
    key = np.zeros(len(edges), dtype=np.int64)
    for column in range(5):
        key = key * spans[column] + (edges[:, column] - low[column])
    return key
