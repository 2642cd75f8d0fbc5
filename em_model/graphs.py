"""From a band or a crystal to the arrays the network eats.

A node is an atom; its bonds are its nearest neighbours among the host's atoms (12 within 8 Å by
default) and, near a path, the sites of the band. Rows are dense (nodes × slots): a gather and a
sum over the second axis then replace scatter operations, several times faster on a CPU.

Every bond carries a weight that falls to zero at the distance of the first neighbour left out.
So the graph does not jump when two neighbours swap places, and ties at the edge of the shell,
the rule in symmetric crystals, drop out whole instead of by the order of the atoms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from scipy.spatial import cKDTree

from em_model.data import Band, Crystal
from em_model.elements import bond_valence_lengths, numbers_of
from em_model.images import periodic_images


@dataclass(frozen=True)
class GraphSettings:
    """How graphs are cut.

    Parameters
    ----------
    neighbours
        Bonds of a node to atoms of the host.
    cutoff_ang
        No bond is longer.
    angle_bonds
        Of the shortest bonds of a node, how many form angles with each other.
    angle_cutoff_ang
        No bond longer than this forms an angle.
    band_neighbours
        Bonds of a node to sites of the band.
    band_cutoff_ang
        No bond to a site of the band is longer.
    crop_ang
        Of a band, atoms within this distance of the band's sites become nodes.
    """

    neighbours: int = 12
    cutoff_ang: float = 8.0
    angle_bonds: int = 6
    angle_cutoff_ang: float = 3.5
    band_neighbours: int = 4
    band_cutoff_ang: float = 4.5
    crop_ang: float = 5.0


@dataclass(frozen=True, eq=False)
class Graph:
    """One band or crystal: n nodes, k bonds a node, m of them in angles.

    ``neighbour`` (n, k) indexes nodes; ``distance`` (n, k) is in Å; ``weight`` (n, k) is zero
    in empty slots. ``direction`` (n, m, 3) holds unit vectors of the first m bonds,
    ``angle_weight`` (n, m) their weights. ``valence`` (n, k) is the bond valence.
    """

    number: np.ndarray
    neighbour: np.ndarray
    distance: np.ndarray
    valence: np.ndarray
    weight: np.ndarray
    direction: np.ndarray
    angle_weight: np.ndarray

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return len(self.number)


def band_graph(band: Band, settings: GraphSettings) -> Graph:
    """Graph of a band, cropped around its path; the band's five sites are nodes 0 to 4.

    Raises
    ------
    ValueError
        When the band has not five sites.
    """
    if len(band.band_sites) != 5:
        raise ValueError(f"band {band.id}: band_sites: need 5, got {len(band.band_sites)}")
    numbers = numbers_of(band.species)
    cart = band.frac_coords @ band.lattice
    path, host = list(band.band_sites), band.host_sites
    images, image_atom = periodic_images(band.lattice, cart[host], cart[path], settings.crop_ang)
    tree = cKDTree(images)
    near = tree.query_ball_point(cart[path], settings.crop_ang)
    inside = np.unique(image_atom[np.unique(np.concatenate(near)).astype(int)])
    kept = host[inside]
    nodes = np.concatenate([path, kept]).astype(int)
    host_part = _bonds(
        band.lattice, cart[nodes], cart[host], settings.neighbours, settings.cutoff_ang
    )
    # Where each host atom went: its node, or -1 when the crop left it out.
    node_of = np.full(len(host), -1)
    node_of[inside] = np.arange(5, 5 + len(inside))
    path_part = _bonds(
        band.lattice,
        cart[nodes],
        cart[path],
        settings.band_neighbours,
        settings.band_cutoff_ang,
    )
    path_nodes = (path_part, np.arange(5))
    return _assemble(numbers[nodes], host_part, node_of, settings, path_part=path_nodes)


def crystal_graph(crystal: Crystal, settings: GraphSettings) -> Graph:
    """Graph of a bulk crystal; every atom is a node."""
    cart = crystal.frac_coords @ crystal.lattice
    part = _bonds(crystal.lattice, cart, cart, settings.neighbours, settings.cutoff_ang)
    n = len(cart)
    return _assemble(numbers_of(crystal.species), part, np.arange(n), settings)


@dataclass(frozen=True, eq=False)
class _Bonds:
    index: np.ndarray  # (n, k) into the targets, 0 in empty slots
    vector: np.ndarray  # (n, k, 3)
    distance: np.ndarray  # (n, k), inf in empty slots
    horizon: np.ndarray  # (n, 1) distance at which the weight reaches zero


def _bonds(
    lattice: np.ndarray,
    centres: np.ndarray,
    targets: np.ndarray,
    count: int,
    cutoff: float,
) -> _Bonds:
    """The ``count`` nearest images of ``targets`` around each of ``centres``, itself excluded."""
    # One neighbour more sets the horizon, and the centre itself may come first.
    wanted = count + 2
    radius = min(5.0, cutoff)
    while True:
        positions, atom = periodic_images(lattice, targets, centres, radius)
        distance, index = (
            cKDTree(positions).query(centres, k=wanted, distance_upper_bound=radius)
            if len(positions)
            else (np.full((len(centres), wanted), np.inf), None)
        )
        if radius >= cutoff or np.isfinite(distance).all():
            break
        radius = min(radius * 1.3, cutoff)
    if index is None:
        return _Bonds(
            np.zeros((len(centres), count), dtype=np.int64),
            np.zeros((len(centres), count, 3)),
            np.full((len(centres), count), np.inf),
            np.full((len(centres), 1), cutoff),
        )
    itself = distance[:, :1] < 1e-6
    distance = np.where(itself, distance[:, 1:], distance[:, :-1])
    index = np.where(itself, index[:, 1:], index[:, :-1])
    horizon = np.minimum(distance[:, count:], cutoff)
    distance, index = distance[:, :count], index[:, :count]
    empty = ~np.isfinite(distance)
    index = np.where(empty, 0, index)
    vector = positions[index] - centres[:, None]
    return _Bonds(atom[index], vector, distance, horizon)


def _weight(distance: np.ndarray, horizon: np.ndarray) -> np.ndarray:
    """One at distance zero, flat, and zero from the horizon on."""
    ratio = np.minimum(distance / horizon, 1.0)
    return 1.0 - ratio**6


def _assemble(
    number: np.ndarray,
    bonds: _Bonds,
    node_of: np.ndarray,
    settings: GraphSettings,
    path_part: tuple[_Bonds, np.ndarray] | None = None,
) -> Graph:
    m = min(settings.angle_bonds, settings.neighbours)
    neighbour = node_of[bonds.index]
    weight = _weight(bonds.distance, bonds.horizon) * (neighbour >= 0)
    # The next bond outside the m shortest sets the horizon of the angles.
    following = bonds.distance[:, m : m + 1] if m < settings.neighbours else bonds.horizon
    angle_horizon = np.minimum(following, settings.angle_cutoff_ang)
    angle_weight = _weight(bonds.distance[:, :m], angle_horizon) * (neighbour[:, :m] >= 0)
    distance, columns = bonds.distance, [neighbour]
    if path_part is not None:
        part, nodes = path_part
        columns.append(nodes[part.index])
        weight = np.concatenate([weight, _weight(part.distance, part.horizon)], axis=1)
        distance = np.concatenate([distance, part.distance], axis=1)
    neighbour = np.maximum(np.concatenate(columns, axis=1), 0)
    distance = np.where(weight > 0, distance, settings.cutoff_ang)
    length = bond_valence_lengths()[number[:, None], number[neighbour]]
    valence = np.exp(np.minimum((length - distance) / 0.37, 1.5)) * (weight > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        direction = bonds.vector[:, :m] / bonds.distance[:, :m, None]
    return Graph(
        number=number,
        neighbour=neighbour,
        distance=distance.astype(np.float32),
        valence=valence.astype(np.float32),
        weight=weight.astype(np.float32),
        direction=np.where(angle_weight[..., None] > 0, direction, 0.0).astype(np.float32),
        angle_weight=angle_weight.astype(np.float32),
    )


@dataclass(frozen=True, eq=False)
class Batch:
    """Graphs laid end to end as tensors; ``owner`` (n,) names the graph of each node.

    ``start`` (graphs,) is the first node of each graph: the sites of a band are nodes
    ``start`` to ``start + 4``.
    """

    number: torch.Tensor
    neighbour: torch.Tensor
    distance: torch.Tensor
    valence: torch.Tensor
    weight: torch.Tensor
    direction: torch.Tensor
    angle_weight: torch.Tensor
    owner: torch.Tensor
    start: torch.Tensor

    @property
    def num_graphs(self) -> int:
        """Number of graphs."""
        return len(self.start)

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        return Batch(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


def collate(graphs: Sequence[Graph]) -> Batch:
    """Lay graphs end to end; node indices are shifted."""
    sizes = np.array([g.num_nodes for g in graphs])
    start = np.concatenate([[0], np.cumsum(sizes)[:-1]])

    def cat(name: str) -> torch.Tensor:
        return torch.from_numpy(np.concatenate([getattr(g, name) for g in graphs]))

    return Batch(
        number=cat("number"),
        neighbour=torch.from_numpy(
            np.concatenate([g.neighbour + s for g, s in zip(graphs, start, strict=True)])
        ),
        distance=cat("distance"),
        valence=cat("valence"),
        weight=cat("weight"),
        direction=cat("direction"),
        angle_weight=cat("angle_weight"),
        owner=torch.from_numpy(np.repeat(np.arange(len(graphs)), sizes)),
        start=torch.from_numpy(start),
    )


def batches_by_budget(sizes: Sequence[int], budget: int, most: int) -> list[list[int]]:
    """Cut 0 … len(sizes) − 1 into runs, sorted by size, each within ``budget`` nodes in all.

    Memory is bounded by nodes (each has the same number of bonds and angles), not by graphs;
    a single graph above the budget forms a run of its own.
    """
    order = np.argsort(np.asarray(sizes), kind="stable")
    runs: list[list[int]] = []
    total = 0
    for index in order.tolist():
        if not runs or total + sizes[index] > budget or len(runs[-1]) >= most:
            runs.append([])
            total = 0
        runs[-1].append(index)
        total += sizes[index]
    return runs
