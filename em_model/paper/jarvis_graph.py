"""The k-nearest-neighbour graph of jarvis-tools, edge for edge, without its loops.

The published models see a crystal through ``nearest_neighbor_edges`` and
``build_undirected_edgedata`` of ``jarvis.core.graphs``: the twelve nearest neighbours within a
radius that grows until each site has twelve, all ties at the twelfth distance kept, the edges
made undirected from their canonical images. Ties are decided by the last bit of a distance and
the original works on a lattice that it rounds to five decimals in some places and not in others,
so the arithmetic here follows it operation by operation; only the search is another one (a
k-d tree instead of all pairs in all images).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from itertools import product

import numpy as np
import torch
from ase.data import atomic_numbers
from scipy.spatial import cKDTree

from em_model.data import Band

COINCIDENT_ANG = 0.15
"""Sites closer than this are no neighbours (``bond_tol`` of jarvis-tools)."""


@dataclass(frozen=True, eq=False)
class KnnGraph:
    """One crystal graph, or several side by side.

    Attributes
    ----------
    numbers
        Atomic numbers, shape (n,).
    src, dst
        Bonds, shape (m,) each, both directions of every one, sorted by ``src``.
    vec
        Bond vectors from ``src`` to ``dst`` in Å, float32, shape (m, 3).
    reverse
        Index of the opposite bond of each bond, shape (m,).
    graph_of
        Graph that each atom belongs to, shape (n,), non-decreasing.
    num_graphs
        Number of graphs side by side.
    """

    numbers: torch.Tensor
    src: torch.Tensor
    dst: torch.Tensor
    vec: torch.Tensor
    reverse: torch.Tensor
    graph_of: torch.Tensor
    num_graphs: int = 1

    @property
    def num_bonds(self) -> int:
        """Directed bonds."""
        return len(self.src)

    @property
    def num_angles(self) -> int:
        """Ordered pairs of bonds a → b, b → c, those that turn back (c = a) included."""
        return int((self.degree**2).sum())

    @cached_property
    def degree(self) -> torch.Tensor:
        """Bonds that leave each atom, as many as arrive; shape (n,)."""
        return torch.bincount(self.src, minlength=len(self.numbers))

    @cached_property
    def blocks(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """The angles as dense blocks, all atoms of one degree together.

        Each block is (arriving, leaving), bond indices of shape (atoms, degree) each: the
        angles at an atom are all pairs of one arriving and one leaving bond. Arriving bonds
        are listed as the opposites of the leaving ones.
        """
        start = torch.cumsum(self.degree, 0) - self.degree
        found = []
        for degree in torch.unique(self.degree).tolist():
            if degree:
                atoms = torch.nonzero(self.degree == degree).squeeze(1)
                leaving = start[atoms, None] + torch.arange(degree, device=start.device)
                found.append((self.reverse[leaving], leaving))
        return found

    def split_blocks(self, max_angles: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """:attr:`blocks` cut so that each holds about ``max_angles`` angles at most."""
        pieces: list[tuple[torch.Tensor, torch.Tensor]] = []
        for arriving, leaving in self.blocks:
            atoms = max(1, max_angles // leaving.shape[1] ** 2)
            pieces += zip(arriving.split(atoms), leaving.split(atoms), strict=True)
        return pieces

    def to(self, device: torch.device) -> KnnGraph:
        """The same graph on another device."""
        tensors = {k: v.to(device) for k, v in vars(self).items() if k in _TENSORS}
        return KnnGraph(**tensors, num_graphs=self.num_graphs)


_TENSORS = ("numbers", "src", "dst", "vec", "reverse", "graph_of")


def knn_graph(
    lattice: np.ndarray,
    species: Sequence[str],
    frac_coords: np.ndarray,
    cutoff_ang: float = 6.0,
    neighbours: int = 12,
) -> KnnGraph:
    """Graph of one crystal as jarvis-tools builds it.

    Parameters
    ----------
    lattice
        Shape (3, 3), Å, rows are vectors.
    species, frac_coords
        Elements, and fractional coordinates of shape (n, 3), used as given (not wrapped).
    cutoff_ang
        First radius tried; the published fine-tuning starts at 6 Å, its pre-training at 8 Å.
    neighbours
        k of the nearest neighbours.
    """
    rounded = np.around(np.asarray(lattice, dtype=float), 5)
    site, other, image = _nearest(lattice, rounded, frac_coords, cutoff_ang, neighbours)

    # The canonical form of a bond starts at the lower site, in the home cell.
    swap = other < site
    ends = np.where(swap, (other, site), (site, other))
    keys = np.vstack([ends, np.where(swap, -image.T, image.T)]).T
    low, high, *shift = np.unique(keys, axis=0).T
    vec = (frac_coords[high] + np.column_stack(shift) - frac_coords[low]) @ rounded

    src = np.concatenate([low, high])
    order = np.argsort(src, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    opposite = np.roll(np.arange(len(src)), len(low))
    return KnnGraph(
        numbers=torch.tensor([atomic_numbers[s] for s in species]),
        src=torch.from_numpy(src[order]),
        dst=torch.from_numpy(np.concatenate([high, low])[order]),
        vec=torch.from_numpy(np.concatenate([vec, -vec])[order].astype(np.float32)),
        reverse=torch.from_numpy(rank[opposite[order]]),
        graph_of=torch.zeros(len(species), dtype=torch.long),
    )


def band_graph(band: Band) -> KnnGraph:
    """Graph of a band with all its images in one cell, as MODEL-3 and MODEL-4 see it."""
    return knn_graph(band.lattice, band.species, band.frac_coords)


def collate(graphs: Sequence[KnnGraph]) -> KnnGraph:
    """Put graphs side by side as one."""
    atoms = np.cumsum([0, *(len(g.numbers) for g in graphs)])
    bonds = np.cumsum([0, *(g.num_bonds for g in graphs)])
    count = np.cumsum([0, *(g.num_graphs for g in graphs)])

    def joined(name: str, offsets: np.ndarray | None = None) -> torch.Tensor:
        parts = [getattr(g, name) for g in graphs]
        if offsets is not None:
            parts = [part + int(o) for part, o in zip(parts, offsets[:-1], strict=True)]
        return torch.cat(parts)

    return KnnGraph(
        numbers=joined("numbers"),
        src=joined("src", atoms),
        dst=joined("dst", atoms),
        vec=joined("vec"),
        reverse=joined("reverse", bonds),
        graph_of=joined("graph_of", count),
        num_graphs=int(count[-1]),
    )


@cache
def cgcnn_table() -> torch.Tensor:
    """The 92 CGCNN atom features by atomic number, from the file that jarvis-tools ships.

    Returns
    -------
    torch.Tensor
        Shape (119, 92), float32; elements beyond 100 get the row of 100, as in the original.
    """
    table = json.loads((files("jarvis.core") / "atom_init.json").read_text())
    rows = [table[str(min(z, 100))] for z in range(1, 119)]
    return torch.tensor([[0.0] * len(rows[0]), *rows], dtype=torch.float32)


def _nearest(
    lattice: np.ndarray, rounded: np.ndarray, frac: np.ndarray, cutoff: float, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(site, neighbour, image) of the k nearest of every site, all ties at the k-th included."""
    cart = np.dot(frac, rounded)
    lengths = np.around(np.sqrt(np.sum(rounded**2, axis=1)), 6)
    reciprocal = np.around(2 * np.pi * np.linalg.inv(rounded).T, 5)
    heights = np.around(np.sqrt(np.sum(reciprocal**2, axis=1)), 6) / (2 * np.pi)
    while True:
        # The box of images is the original's, which is not always complete for unwrapped sites.
        reach = np.ceil((cutoff + COINCIDENT_ANG) * heights)
        first = (np.floor(frac.min(axis=0)) - reach).astype(int)
        last = (np.ceil(frac.max(axis=0)) + reach).astype(int)
        images = np.array(list(product(*map(range, first, last))))
        # One product per image: a single matrix product may round differently.
        shifts = np.array([np.dot(image, lattice) for image in images.astype(float)])
        found = _search(cart, shifts, cutoff, k)
        if found is not None:
            site, other, cell = found
            return site, other, images[cell]
        cutoff = lengths.max() if cutoff < lengths.max() else 2 * cutoff


def _search(
    cart: np.ndarray, shifts: np.ndarray, cutoff: float, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """(site, neighbour, number of the shift), None when a site has fewer than k neighbours."""
    margin = cutoff + 1e-6
    low, high = cart.min(axis=0) - margin, cart.max(axis=0) + margin
    ghosts = shifts[:, None, :] + cart[None, :, :]
    near = np.all((ghosts >= low) & (ghosts <= high), axis=-1)
    cells, atoms = np.nonzero(near)
    points = ghosts[near]
    tree = cKDTree(points)
    wanted = 3 * k
    while True:
        wanted = min(wanted, len(points))
        _, index = tree.query(cart, k=wanted, distance_upper_bound=margin)
        missing = index == len(points)
        safe = np.where(missing, 0, index)
        # The distance as the original computes it, to the last bit.
        distance = np.sum((points[safe] - cart[:, None, :]) ** 2, axis=-1) ** 0.5
        distance[missing | (distance > cutoff) | (distance <= COINCIDENT_ANG)] = np.inf
        if wanted <= k:
            return None
        kth = np.partition(distance, k - 1, axis=1)[:, k - 1]
        complete = missing.any(axis=1) | (distance[:, -1] > kth + 1e-6)
        if complete.all() or wanted == len(points):
            break
        wanted *= 2
    if np.isinf(kth).any():
        return None
    site, column = np.nonzero(distance <= kth[:, None])
    chosen = index[site, column]
    return site, atoms[chosen], cells[chosen]
