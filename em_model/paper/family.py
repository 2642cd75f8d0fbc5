"""The paper's family by name: one trunk, and what each model makes of the path's structures.

=================  =====================================================================
name               what is embedded, and what the head reads
=================  =====================================================================
``MODEL-1-cc``     the two end structures; their vectors side by side
``MODEL-1-add``    the two end structures; the sum of their vectors
``MODEL-1-sub``    the two end structures; final minus initial
``MODEL-2``        final minus initial, atom by atom, after the first convolution; the other
                   layers run on the difference, over the initial structure's graph
``MODEL-3``        the band: all images of the ion in one structure
``MODEL-4``        the band; attention over all its atoms and over those within 3 Å of the path
``scratch-…``      ``MODEL-1-…`` without pre-training
=================  =====================================================================

Source: arXiv 2508.06436. Where the text leaves a choice, the table says the one made here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from em_model.data import Band
from em_model.errors import BadInput
from em_model.paper.jarvis_graph import KnnGraph, band_graph, collate, knn_graph
from em_model.paper.published import Alignn, AlignnConfig, mean_by_graph

SIZES = {
    "published": AlignnConfig(),
    "small": AlignnConfig(alignn_layers=1, gcn_layers=3, hidden=64, embedding=32, head=64),
}
"""Sizes by name: the published one, and one that two cores can train."""

SUBGRAPH_ANG = 3.0
"""MODEL-4 looks a second time at the atoms within this distance of the path."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a model reads of one band, or of several side by side.

    Attributes
    ----------
    graphs
        The structures, one graph each.
    near_path
        Atoms of the first graph within :data:`SUBGRAPH_ANG` of the path, bool, shape (n,).
    """

    graphs: tuple[KnnGraph, ...]
    near_path: Tensor

    def to(self, device: torch.device) -> Inputs:
        """The same on another device."""
        return Inputs(tuple(g.to(device) for g in self.graphs), self.near_path.to(device))


def collate_inputs(items: Sequence[Inputs]) -> Inputs:
    """Put the inputs of several bands side by side."""
    graphs = zip(*(item.graphs for item in items), strict=True)
    return Inputs(tuple(map(collate, graphs)), torch.cat([item.near_path for item in items]))


def band_inputs(band: Band) -> Inputs:
    """The band as one structure (MODEL-3, MODEL-4)."""
    return Inputs((band_graph(band),), torch.from_numpy(_near_path(band)))


def end_inputs(band: Band) -> Inputs:
    """The two end structures, site by site in the same order (MODEL-1, MODEL-2)."""
    host = band.host_sites
    ends = [np.concatenate([[band.band_sites[i]], host]).astype(int) for i in (0, -1)]
    graphs = [
        knn_graph(band.lattice, [band.species[s] for s in sites], band.frac_coords[sites])
        for sites in ends
    ]
    return Inputs(tuple(graphs), torch.from_numpy(_near_path(band)[ends[0]]))


def _near_path(band: Band) -> np.ndarray:
    """Which sites lie within :data:`SUBGRAPH_ANG` of a site of the path, periodically."""
    frac = band.frac_coords[:, None] - band.frac_coords[list(band.band_sites)][None]
    frac -= np.round(frac)
    cells = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    vectors = (frac[:, :, None] + cells) @ band.lattice
    return np.asarray((np.linalg.norm(vectors, axis=-1) <= SUBGRAPH_ANG).any(axis=(1, 2)))


class Attention(nn.Module):
    """Self-attention of MODEL-4: Q, K, V = ReLU(XW), A = softmax(tanh(QKᵀ)), mean(X) + AV."""

    def __init__(self, size: int):
        super().__init__()
        self.query = nn.Linear(size, size, bias=False)
        self.key = nn.Linear(size, size, bias=False)
        self.value = nn.Linear(size, size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Vector of one graph, shape (size,), from its atoms, shape (n, size)."""
        query, key, value = (F.relu(f(x)) for f in (self.query, self.key, self.value))
        weights = torch.softmax(torch.tanh(query @ key.T), dim=1)
        return (x.mean(dim=0) + weights @ value).mean(dim=0)


class PaperModel(nn.Module):
    """Trunk, pooling and head of one member of the family.

    Attributes
    ----------
    name
        Name of the member.
    inputs
        Makes what the model reads of a band.
    """

    def __init__(self, name: str, config: AlignnConfig):
        super().__init__()
        self.name = name
        self.trunk = Alignn(config)
        self.inputs, self._pool, widths = _MEMBERS[name]
        self.head = nn.Sequential(
            nn.SiLU(),
            nn.Linear(widths * config.hidden, config.head),
            nn.SiLU(),
            nn.Linear(config.head, config.head),
            nn.SiLU(),
            nn.Linear(config.head, 1),
        )
        if name == "MODEL-4":
            self.attention = Attention(config.hidden)
            self.attention_near = Attention(config.hidden)

    @property
    def pretrained(self) -> bool:
        """Whether the paper starts this member from the pre-trained trunk."""
        return not self.name.startswith("scratch")

    def forward(self, inputs: Inputs) -> Tensor:
        """One number per band, shape (bands,), in the units of training."""
        out: Tensor = self.head(self._pool(self, inputs)).squeeze(1)
        return out

    def _ends(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        both = collate(inputs.graphs)
        h = mean_by_graph(self.trunk.atoms(both), both.graph_of, both.num_graphs)
        first, last = h.chunk(2)
        return first, last

    def _concatenated(self, inputs: Inputs) -> Tensor:
        return torch.cat(self._ends(inputs), dim=1)

    def _added(self, inputs: Inputs) -> Tensor:
        first, last = self._ends(inputs)
        return first + last

    def _subtracted(self, inputs: Inputs) -> Tensor:
        first, last = self._ends(inputs)
        return last - first

    def _delta(self, inputs: Inputs) -> Tensor:
        initial, final = inputs.graphs
        x = self.trunk.atoms(initial, minuend=self.trunk.first_convolution(final))
        return mean_by_graph(x, initial.graph_of, initial.num_graphs)

    def _mean(self, inputs: Inputs) -> Tensor:
        (graph,) = inputs.graphs
        return mean_by_graph(self.trunk.atoms(graph), graph.graph_of, graph.num_graphs)

    def _attended(self, inputs: Inputs) -> Tensor:
        (graph,) = inputs.graphs
        atoms = torch.bincount(graph.graph_of, minlength=graph.num_graphs).tolist()
        x = self.trunk.atoms(graph).split(atoms)
        near = inputs.near_path.split(atoms)
        whole = torch.stack([self.attention(part) for part in x])
        path = torch.stack([self.attention_near(part[m]) for part, m in zip(x, near, strict=True)])
        return torch.cat([whole, path], dim=1)


_Member = tuple[Callable[[Band], Inputs], Callable[[PaperModel, Inputs], Tensor], int]
_ENDS: dict[str, _Member] = {
    "cc": (end_inputs, PaperModel._concatenated, 2),
    "add": (end_inputs, PaperModel._added, 1),
    "sub": (end_inputs, PaperModel._subtracted, 1),
}
_MEMBERS: dict[str, _Member] = {
    **{f"MODEL-1-{how}": member for how, member in _ENDS.items()},
    "MODEL-2": (end_inputs, PaperModel._delta, 1),
    "MODEL-3": (band_inputs, PaperModel._mean, 1),
    "MODEL-4": (band_inputs, PaperModel._attended, 2),
    **{f"scratch-{how}": member for how, member in _ENDS.items()},
}

NAMES = tuple(_MEMBERS)
"""Members of the family, as :func:`paper_model` knows them."""


def paper_model(name: str, size: str = "small") -> PaperModel:
    """A member of the family, untrained.

    Raises
    ------
    BadInput
        When the name or the size is unknown.
    """
    if name not in _MEMBERS:
        raise BadInput(f"model: {name!r} is none of {', '.join(NAMES)}")
    if size not in SIZES:
        raise BadInput(f"size: {size!r} is none of {', '.join(SIZES)}")
    return PaperModel(name, SIZES[size])
