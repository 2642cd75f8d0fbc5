"""The 2023 ALIGNN with BatchNorm that the published models rest on, in plain PyTorch.

Parameter names are those of the authors' checkpoints. Training runs on flat tensors of angles;
evaluation runs on dense blocks (all angles at an atom are the pairs of its arriving and leaving
bonds), which needs neither gathers nor scatters of angle-sized tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from em_model.paper.jarvis_graph import KnnGraph, cgcnn_table

ANGLES_PER_BLOCK = 1024
"""Angles updated at a time in evaluation; a block of 256 features then fits a core's cache."""


@dataclass(frozen=True)
class AlignnConfig:
    """Sizes of the network; the defaults are the published ones."""

    alignn_layers: int = 4
    gcn_layers: int = 4
    hidden: int = 256
    embedding: int = 64
    atom_features: int = 92
    bond_bins: int = 80
    angle_bins: int = 40
    head: int = 128


class RadialBasis(nn.Module):
    """Gaussians at even steps, as wide as a step (``RBFExpansion`` of alignn)."""

    centers: Tensor

    def __init__(self, low: float, high: float, bins: int):
        super().__init__()
        self.register_buffer("centers", torch.linspace(low, high, bins))
        self.gamma = (bins - 1) / (high - low)

    def forward(self, value: Tensor) -> Tensor:
        """Shape (m,) → (m, bins)."""
        return torch.exp(-self.gamma * (value[:, None] - self.centers) ** 2)


class Dense(nn.Module):
    """Linear, BatchNorm, SiLU (``MLPLayer`` of alignn)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        """Shape (m, inputs) → (m, outputs)."""
        out: Tensor = self.layer(x)
        return out


class GatedConv(nn.Module):
    """Edge-gated graph convolution (arXiv 1711.07553) with BatchNorm and residuals."""

    def __init__(self, size: int):
        super().__init__()
        self.src_gate = nn.Linear(size, size)
        self.dst_gate = nn.Linear(size, size)
        self.edge_gate = nn.Linear(size, size)
        self.bn_edges = nn.BatchNorm1d(size)
        self.src_update = nn.Linear(size, size)
        self.dst_update = nn.Linear(size, size)
        self.bn_nodes = nn.BatchNorm1d(size)

    def forward(self, x: Tensor, e: Tensor, src: Tensor, dst: Tensor) -> tuple[Tensor, Tensor]:
        """Update nodes ``x`` (n, size) and edges ``e`` (m, size) of the graph src → dst."""
        m = self.src_gate(x)[src] + self.dst_gate(x)[dst] + self.edge_gate(e)
        sigma = torch.sigmoid(m)
        total = torch.zeros_like(x).index_add_(0, dst, self.dst_update(x)[src] * sigma)
        weight = torch.zeros_like(x).index_add_(0, dst, sigma)
        new = self.src_update(x) + total / (weight + 1e-6)
        return x + F.silu(self.bn_nodes(new)), e + F.silu(self.bn_edges(m))

    def forward_blocks(
        self, x: Tensor, angles: list[Tensor], blocks: list[tuple[Tensor, Tensor]], last: bool
    ) -> Tensor:
        """The same on the line graph in evaluation: bonds ``x``, angles in dense blocks.

        Parameters
        ----------
        x
            Bond features, shape (m, size).
        angles
            Angle features of each block, shape (atoms · degree², size); updated in place.
        blocks
            (arriving, leaving) bonds of each block, shape (atoms, degree).
        last
            Nothing reads the angles after this layer: leave them as they are.
        """
        source, target, value = self.src_gate(x), self.dst_gate(x), self.dst_update(x)
        new = self.src_update(x)
        scale, shift = _affine(self.bn_edges)
        for z, (arriving, leaving) in zip(angles, blocks, strict=True):
            atoms, degree = leaving.shape
            m = self.edge_gate(z).view(atoms, degree, degree, -1)
            m += source[arriving][:, :, None]
            m += target[leaving][:, None]
            sigma = torch.sigmoid(m)
            weight = sigma.sum(dim=1)
            total = sigma.mul_(value[arriving][:, :, None]).sum(dim=1)
            new[leaving] += total.div_(weight.add_(1e-6))
            if not last:
                flat = m.view(len(z), -1).mul_(scale).add_(shift)
                z += F.silu(flat, inplace=True)
        return x + F.silu(self.bn_nodes(new))


class AlignnConv(nn.Module):
    """One ALIGNN layer: atoms and bonds on the graph, then bonds and angles on its line graph."""

    def __init__(self, size: int):
        super().__init__()
        self.node_update = GatedConv(size)
        self.edge_update = GatedConv(size)


class Alignn(nn.Module):
    """The trunk: a crystal graph to a vector per atom."""

    def __init__(self, config: AlignnConfig | None = None):
        super().__init__()
        self.config = config = config or AlignnConfig()
        size, embedding = config.hidden, config.embedding
        self.atom_embedding = Dense(config.atom_features, size)
        self.edge_embedding = nn.Sequential(
            RadialBasis(0.0, 8.0, config.bond_bins),
            Dense(config.bond_bins, embedding),
            Dense(embedding, size),
        )
        self.angle_embedding = nn.Sequential(
            RadialBasis(-1.0, 1.0, config.angle_bins),
            Dense(config.angle_bins, embedding),
            Dense(embedding, size),
        )
        self.alignn_layers = nn.ModuleList(AlignnConv(size) for _ in range(config.alignn_layers))
        self.gcn_layers = nn.ModuleList(GatedConv(size) for _ in range(config.gcn_layers))

    def atoms(self, graph: KnnGraph, minuend: Tensor | None = None) -> Tensor:
        """Embedding of each atom after all layers.

        Parameters
        ----------
        graph
            One graph or several side by side, n atoms.
        minuend
            When given, shape (n, hidden): after the first convolution the atoms become
            ``minuend`` minus themselves, and the other layers go on with the difference.

        Returns
        -------
        torch.Tensor
            Shape (n, hidden).
        """
        x, y = self.embed(graph)
        angles = (_FlatAngles if self.training else _BlockedAngles)(graph, self.angle_embedding)
        layers = cast("Sequence[AlignnConv]", self.alignn_layers)
        for number, layer in enumerate(layers):
            x, y = layer.node_update(x, y, graph.src, graph.dst)
            if number == 0 and minuend is not None:
                x = minuend - x
            y = angles.update(layer.edge_update, y, last=number == len(layers) - 1)
        for conv in self.gcn_layers:
            x, y = conv(x, y, graph.src, graph.dst)
        return x

    def first_convolution(self, graph: KnnGraph) -> Tensor:
        """Embedding of each atom after the first convolution alone, shape (n, hidden)."""
        x, y = self.embed(graph)
        x, _ = cast("AlignnConv", self.alignn_layers[0]).node_update(x, y, graph.src, graph.dst)
        return x

    def embed(self, graph: KnnGraph) -> tuple[Tensor, Tensor]:
        """First atom and bond features, shapes (n, hidden) and (m, hidden)."""
        x = self.atom_embedding(cgcnn_table().to(graph.vec.device)[graph.numbers])
        return x, self.edge_embedding(graph.vec.norm(dim=1))


class _FlatAngles:
    """Angle features as one tensor, as gradients and batch statistics need them."""

    def __init__(self, graph: KnnGraph, embedding: nn.Module):
        self.blocks = graph.blocks
        pairs = [_pairs(block) for block in self.blocks]
        arriving, leaving = map(torch.cat, zip(*pairs, strict=True))
        self.z: Tensor = embedding(_cosine(graph.vec, arriving, leaving))

    def update(self, conv: GatedConv, bonds: Tensor, last: bool) -> Tensor:
        source, target, value = conv.src_gate(bonds), conv.dst_gate(bonds), conv.dst_update(bonds)
        sizes = [leaving.numel() * leaving.shape[1] for _, leaving in self.blocks]
        gates, updates = [], []
        for e, (arriving, leaving) in zip(
            conv.edge_gate(self.z).split(sizes), self.blocks, strict=True
        ):
            m = e.view(*leaving.shape, leaving.shape[1], -1)
            m = m + source[arriving][:, :, None] + target[leaving][:, None]
            sigma = torch.sigmoid(m)
            total = (sigma * value[arriving][:, :, None]).sum(dim=1)
            updates.append((total / (sigma.sum(dim=1) + 1e-6)).flatten(0, 1))
            gates.append(m.view(len(e), -1))
        order = torch.cat([leaving.flatten() for _, leaving in self.blocks])
        mean = torch.zeros_like(bonds).index_copy(0, order, torch.cat(updates))
        if not last:
            self.z = self.z + F.silu(conv.bn_edges(torch.cat(gates)))
        return bonds + F.silu(conv.bn_nodes(conv.src_update(bonds) + mean))


class _BlockedAngles:
    """Angle features in dense blocks that fit a core's cache, updated in place."""

    def __init__(self, graph: KnnGraph, embedding: nn.Module):
        self.blocks = graph.split_blocks(ANGLES_PER_BLOCK)
        self.z: list[Tensor] = [
            embedding(_cosine(graph.vec, *_pairs(block))) for block in self.blocks
        ]

    def update(self, conv: GatedConv, bonds: Tensor, last: bool) -> Tensor:
        return conv.forward_blocks(bonds, self.z, self.blocks, last)


class PublishedModel3(Alignn):
    """MODEL-3 of arXiv 2508.06436: mean over the atoms, then a head of two hidden layers."""

    def __init__(self, config: AlignnConfig | None = None):
        super().__init__(config)
        head = self.config.head
        self.conv_to_fc = nn.Sequential(nn.Linear(self.config.hidden, head))
        self.fc_hp = nn.ModuleList([nn.Sequential(nn.Linear(head, head))])
        self.fc_out = nn.ModuleList([nn.Linear(head, 1)])

    def forward(self, graph: KnnGraph) -> Tensor:
        """One number per graph, shape (num_graphs,), in the units of training."""
        h = mean_by_graph(self.atoms(graph), graph.graph_of, graph.num_graphs)
        h = F.silu(self.conv_to_fc(F.silu(h)))
        h = F.silu(self.fc_hp[0](h))
        out: Tensor = self.fc_out[0](h).squeeze(1)
        return out


def mean_by_graph(x: Tensor, graph_of: Tensor, num_graphs: int) -> Tensor:
    """Mean of the rows of ``x`` (n, size) of each graph, shape (num_graphs, size)."""
    total = x.new_zeros(num_graphs, x.shape[1]).index_add_(0, graph_of, x)
    return total / torch.bincount(graph_of, minlength=num_graphs).clamp(min=1)[:, None]


def _affine(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """(scale, shift) that the norm amounts to in evaluation."""
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("a BatchNorm without running statistics cannot be evaluated")
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _pairs(block: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """All (arriving, leaving) pairs of a block, flat, the leaving bond running fastest."""
    arriving, leaving = block
    shape = (*leaving.shape, leaving.shape[1])
    return (
        arriving[:, :, None].expand(shape).reshape(-1),
        leaving[:, None, :].expand(shape).reshape(-1),
    )


def _cosine(vec: Tensor, arriving: Tensor, leaving: Tensor) -> Tensor:
    """Cosine of the angle a ← b → c between an arriving bond a → b and a leaving bond b → c."""
    unit = vec / vec.norm(dim=1, keepdim=True)
    return -(unit[arriving] * unit[leaving]).sum(dim=1).clamp(-1.0, 1.0)
