"""The network: edge-gated convolutions on bonds and angles.

After ALIGNN (Choudhary and DeCost, npj Comput. Mater. 7, 185 (2021)): each ALIGNN layer updates
bonds over the angles between them, then atoms over their bonds; gated layers on the bonds
follow. Three things differ. Neighbours are dense (nodes × slots), so sums run over an axis.
Angles gate through their basis functions and carry no state of their own, which saves two thirds
of the time. LayerNorm replaces BatchNorm, so one band is predicted as many.

It is pre-trained on bulk crystals; the band model reads its layers with angles
(:mod:`em_model.trunk`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from em_model.elements import MAX_NUMBER, standardised
from em_model.graphs import Batch


@dataclass(frozen=True)
class NetworkSettings:
    """Sizes of the network.

    Parameters
    ----------
    hidden
        Width of atom and bond states.
    alignn_layers, gcn_layers
        Layers with and without angles.
    bond_bins, angle_bins
        Basis functions of distance and of cos(angle).
    """

    hidden: int = 128
    alignn_layers: int = 3
    gcn_layers: int = 3
    bond_bins: int = 48
    angle_bins: int = 16


class GatedConv(nn.Module):
    """Edge-gated graph convolution (Bresson and Laurent, arXiv 1711.07553) on dense rows."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        # One product gives: gate as neighbour, message as neighbour, gate as centre, own update.
        self.node = nn.Linear(hidden, 4 * hidden)
        self.edge = nn.Linear(hidden, hidden)
        self.norm_node = nn.LayerNorm(hidden)
        self.norm_edge = nn.LayerNorm(hidden)

    def forward(
        self,
        x: Tensor,
        y: Tensor,
        neighbour: Tensor,
        weight: Tensor,
        *,
        last: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Update nodes ``x`` (n, h) and bonds ``y`` (n, k, h); ``weight`` is (n, k, 1)."""
        n, k, h = y.shape
        sent, gate_here, own = self.node(x).split([2 * h, h, h], dim=1)
        gate_there, message = sent.index_select(0, neighbour.reshape(-1)).view(n, k, -1).chunk(2, 2)
        m = gate_there + gate_here[:, None] + self.edge(y)
        sigma = torch.sigmoid(m) * weight
        update = (sigma * message).sum(1) / (sigma.sum(1) + 1e-3)
        x = x + F.silu(self.norm_node(own + update))
        if not last:
            y = y + F.silu(self.norm_edge(m))
        return x, y


class AngleConv(nn.Module):
    """Update each short bond of a node from the node's other short bonds and their angles."""

    def __init__(self, hidden: int, bins: int) -> None:
        super().__init__()
        self.bond = nn.Linear(hidden, 4 * hidden)
        self.angle = nn.Linear(bins, hidden, bias=False)
        self.norm = nn.LayerNorm(hidden)

    def forward(self, y: Tensor, basis: Tensor, weight: Tensor) -> Tensor:
        """Return the change of ``y`` (n, m, h); ``basis`` (n, m, m, bins), ``weight`` (n, m, m)."""
        gate_here, gate_there, message, own = self.bond(y).chunk(4, dim=2)
        sigma = torch.sigmoid(
            self.angle(basis) + gate_here[:, :, None] + gate_there[:, None]
        ) * weight.unsqueeze(-1)
        update = (sigma * message[:, None]).sum(2) / (sigma.sum(2) + 1e-3)
        return F.silu(self.norm(own + update))


def constants(settings: NetworkSettings) -> dict[str, Tensor]:
    """Tensors of the encoder that are computed, not learned, by name."""
    return {
        "elements": torch.from_numpy(standardised()),
        "bond_centres": torch.linspace(0.5, 7.0, settings.bond_bins),
        "angle_centres": torch.linspace(-1.0, 1.0, settings.angle_bins),
    }


class Encoder(nn.Module):
    """Graphs to atom states."""

    bond_centres: Tensor
    angle_centres: Tensor
    elements: Tensor

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        h = settings.hidden
        self.settings = settings
        for name, value in constants(settings).items():
            self.register_buffer(name, value, persistent=False)
        self.symbol = nn.Embedding(MAX_NUMBER + 1, h)
        self.bias = nn.Parameter(torch.zeros(h))
        nn.init.normal_(self.symbol.weight, std=0.1)
        self.atom = nn.Sequential(nn.Linear(self.elements.shape[1], h), nn.SiLU(), nn.Linear(h, h))
        self.bond = nn.Sequential(nn.Linear(settings.bond_bins + 2, h), nn.SiLU(), nn.Linear(h, h))
        self.angle_convs = nn.ModuleList(
            AngleConv(h, settings.angle_bins) for _ in range(settings.alignn_layers)
        )
        self.convs = nn.ModuleList(
            GatedConv(h) for _ in range(settings.alignn_layers + settings.gcn_layers)
        )

    def forward(self, batch: Batch) -> Tensor:
        """Atom states, shape (nodes, hidden)."""
        x, y = self.trunk(batch)
        return self.refine(x, y, batch)

    def trunk(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """States of atoms (nodes, h) and bonds (nodes, slots, h) after the layers with angles."""
        x = self.atom(self.elements[batch.number]) + self.symbol(batch.number)
        x = F.layer_norm(x, x.shape[-1:]) + self.bias
        width = self.bond_centres[1] - self.bond_centres[0]
        radial = torch.exp(
            -0.5 * ((batch.distance.unsqueeze(-1) - self.bond_centres) / width).square()
        )
        extra = torch.stack([batch.valence, 1.0 / batch.distance.clamp_min(0.3)], dim=-1)
        y = self.bond(torch.cat([radial, extra], dim=-1))
        weight = batch.weight.unsqueeze(-1)

        m = batch.direction.shape[1]
        cosine = batch.direction @ batch.direction.transpose(1, 2)
        spread = self.angle_centres[1] - self.angle_centres[0]
        basis = torch.exp(-0.5 * ((cosine.unsqueeze(-1) - self.angle_centres) / spread).square())
        short_weight = batch.angle_weight.unsqueeze(-1)
        pair = short_weight * batch.angle_weight[:, None]
        pair = pair * (1.0 - torch.eye(m, device=pair.device, dtype=pair.dtype))
        for i in range(len(self.angle_convs)):
            # Weighted, so that a bond just short enough for angles equals one just too long.
            change = short_weight * self.angle_convs[i](y[:, :m], basis, pair)
            y = torch.cat([y[:, :m] + change, y[:, m:]], dim=1)
            x, y = self.convs[i](x, y, batch.neighbour, weight)
        return x, y

    def refine(self, x: Tensor, y: Tensor, batch: Batch) -> Tensor:
        """Atom states after the layers without angles, shape (nodes, hidden)."""
        weight = batch.weight.unsqueeze(-1)
        for i in range(len(self.angle_convs), len(self.convs)):
            x, y = self.convs[i](x, y, batch.neighbour, weight, last=i == len(self.convs) - 1)
        return x


def mean_by_owner(x: Tensor, batch: Batch) -> Tensor:
    """Mean state of each graph's nodes, shape (graphs, hidden)."""
    total = x.new_zeros(batch.num_graphs, x.shape[1]).index_add_(0, batch.owner, x)
    count = torch.bincount(batch.owner, minlength=batch.num_graphs).to(x.dtype)
    return total / count.unsqueeze(1)


class PropertyNetwork(nn.Module):
    """Encoder with one linear head for each bulk property (multi-property pre-training)."""

    def __init__(self, settings: NetworkSettings, heads: int) -> None:
        super().__init__()
        self.encoder = Encoder(settings)
        h = settings.hidden
        self.head = nn.Sequential(nn.Linear(h, h), nn.SiLU(), nn.Linear(h, heads))

    def forward(self, batch: Batch) -> Tensor:
        """All properties of each crystal, shape (graphs, heads)."""
        return self.head(mean_by_owner(self.encoder(batch), batch))


def count_parameters(module: nn.Module) -> int:
    """Number of trained values."""
    return sum(math.prod(p.shape) for p in module.parameters())
