"""Fine-tuning on bands: one read-out for each host-grouped fold, on a shared frozen trunk.

The members are both the measure and the model: what each says about the hosts it has not seen
gives the cross-validation error and calibrates the intervals; together they are the ensemble.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from em_model.data import Band, require_barriers
from em_model.errors import BadInput
from em_model.features import FEATURE_NAMES, path_features
from em_model.graphs import Batch, Graph, GraphSettings, band_graph, batches_by_budget, collate
from em_model.network import BandNetwork, Encoder, NetworkSettings
from em_model.training import Log, Schedule, pick_device, read_tensors, train, write_tensors

NODE_BUDGET = 1500
"""Nodes in one forward pass of inference: about 15 paths, some 100 MB."""


@dataclass(frozen=True)
class FinetuneRecipe:
    """Everything that decides the weights of the fine-tuned members, besides the data.

    Members learn from ``copies`` of each band; in all but the first the host's atoms are
    displaced by normal noise of deviation ``jitter_ang``;
    ``huber`` is the residual, in deviations of the target, where the loss turns linear.
    """

    seed: int = 0
    folds: int = 5
    split_seed: int = 0
    copies: int = 3
    jitter_ang: float = 0.05
    huber: float = 0.5
    network: NetworkSettings = field(default_factory=NetworkSettings)
    graph: GraphSettings = field(default_factory=GraphSettings)
    schedule: Schedule = field(default_factory=Schedule)


@dataclass(frozen=True, eq=False)
class Scaling:
    """Standardisation from the training fold alone; the target is √barrier.

    The square root lies between the barrier itself, whose few values above 2 eV rule every
    squared loss, and its logarithm, which helps the median and costs R².
    """

    feature_mean: np.ndarray
    feature_std: np.ndarray
    target_mean: float
    target_std: float

    @classmethod
    def fit(cls, features: np.ndarray, barriers: np.ndarray) -> Scaling:
        """Statistics of features (n, f) and barriers (n,) in eV."""
        root = np.sqrt(np.maximum(barriers, 0.0))
        std = features.std(axis=0)
        return cls(
            features.mean(axis=0),
            np.where(std > 1e-9, std, 1.0),
            float(root.mean()),
            float(max(root.std(), 1e-3)),
        )

    def features(self, raw: np.ndarray) -> Tensor:
        """Standardised features, clipped to five deviations."""
        scaled = (raw - self.feature_mean) / self.feature_std
        return torch.from_numpy(np.clip(scaled, -5, 5).astype(np.float32))

    def target(self, barriers: np.ndarray) -> Tensor:
        """Barriers in eV to what the network learns."""
        root = np.sqrt(np.maximum(barriers, 0.0))
        return torch.from_numpy(((root - self.target_mean) / self.target_std).astype(np.float32))

    def root(self, outputs: np.ndarray) -> np.ndarray:
        """The network's outputs to √barrier (√eV)."""
        return np.asarray(outputs * self.target_std + self.target_mean)

    def tensors(self) -> dict[str, Tensor]:
        """For a safetensors file."""
        return {
            "scaling.feature_mean": torch.from_numpy(self.feature_mean),
            "scaling.feature_std": torch.from_numpy(self.feature_std),
            "scaling.target": torch.tensor([self.target_mean, self.target_std]).double(),
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Scaling:
        """From what :meth:`tensors` gave."""
        mean, std = tensors["scaling.target"].tolist()
        return cls(
            tensors["scaling.feature_mean"].numpy(),
            tensors["scaling.feature_std"].numpy(),
            mean,
            std,
        )


@dataclass(frozen=True, eq=False)
class States:
    """A band after the trunk: its graph, atom states (n, h), bond states (n, k, h)."""

    graph: Graph
    atoms: Tensor
    bonds: Tensor


def load_trunk(encoder: Path, settings: NetworkSettings, device: torch.device) -> Encoder:
    """The layers with angles of a pre-trained encoder, or of a finished model, frozen.

    Raises
    ------
    BadInput
        When the file is missing, damaged, or of other sizes.
    """
    tensors = read_tensors(encoder)
    inside = {k[6:]: v for k, v in tensors.items() if k.startswith("trunk/")}
    if inside:
        return trunk_from(inside, settings, device)
    return trunk_from(
        {k: v for k, v in tensors.items() if _late_layer(k, settings) is None}, settings, device
    )


def trunk_from(
    tensors: dict[str, Tensor], settings: NetworkSettings, device: torch.device
) -> Encoder:
    """A frozen trunk from its tensors, rounded to the half precision that is shipped."""
    trunk = Encoder(replace(settings, gcn_layers=0))
    try:
        trunk.load_state_dict({k: v.half().float() for k, v in tensors.items()})
    except RuntimeError as error:
        raise BadInput(
            f"encoder: does not fit the recipe's network ({' '.join(str(error).split())[:120]})"
        ) from error
    return trunk.to(device).eval().requires_grad_(False)


def _late_layer(name: str, settings: NetworkSettings) -> tuple[int, str] | None:
    """Number behind the trunk, and rest of the name, of a layer without angles."""
    parts = name.split(".", 2)
    if parts[0] != "convs" or int(parts[1]) < settings.alignn_layers:
        return None
    return int(parts[1]) - settings.alignn_layers, parts[2]


def trunk_states(trunk: Encoder, graphs: Sequence[Graph]) -> list[States]:
    """Run graphs through the trunk, a bounded number of nodes at a time."""
    device = next(trunk.parameters()).device
    out: list[States | None] = [None] * len(graphs)
    for run in batches_by_budget([g.num_nodes for g in graphs], NODE_BUDGET, 256):
        # No inference mode: read-outs are trained on these states.
        with torch.no_grad():
            x, y = trunk.trunk(collate([graphs[i] for i in run]).to(device))
        first = 0
        for i in run:
            last = first + graphs[i].num_nodes
            out[i] = States(graphs[i], x[first:last].clone(), y[first:last].clone())
            first = last
    return [s for s in out if s is not None]


def pooled_states(states: Sequence[States]) -> np.ndarray:
    """What the trunk says of each path's ends, middle and inner sites.

    Of each of them: the states of the site, of its surroundings and of its bonds, the latter two
    weighted means. The same from both ends.

    Returns
    -------
    np.ndarray
        Shape (n, 9·hidden).
    """
    rows = []
    for state in states:
        weight = torch.from_numpy(state.graph.weight[:5, :, None]).to(state.atoms)
        total = weight.sum(1) + 1e-3
        near = state.atoms[torch.from_numpy(state.graph.neighbour[:5]).to(weight.device)]
        sites = torch.stack(
            [
                state.atoms[:5],
                (near * weight).sum(1) / total,
                (state.bonds[:5] * weight).sum(1) / total,
            ],
            dim=1,
        )
        ends, inner = 0.5 * (sites[0] + sites[4]), sites[1:4].mean(0)
        rows.append(torch.cat([ends, sites[2], inner]).flatten().cpu().numpy())
    return np.array(rows, dtype=float)


def lay(states: Sequence[States], device: torch.device) -> tuple[Tensor, Tensor, Batch]:
    """States of several bands end to end."""
    batch = collate([s.graph for s in states]).to(device)
    return torch.cat([s.atoms for s in states]), torch.cat([s.bonds for s in states]), batch


@dataclass(frozen=True, eq=False)
class Member:
    """One fine-tuned read-out with its scaling."""

    network: BandNetwork
    scaling: Scaling

    def roots(self, states: Sequence[States], features: np.ndarray) -> np.ndarray:
        """√barrier of each band, shape (n,)."""
        return ensemble_roots([self], states, features)[0]

    def tensors(self) -> dict[str, Tensor]:
        """Network (half precision) and scaling, for a safetensors file."""
        state = {f"network.{k}": v.half() for k, v in self.network.state_dict().items()}
        return state | self.scaling.tensors()

    def save(self, path: Path, info: dict[str, str]) -> None:
        """Write the member to a file of its own."""
        write_tensors(path, self.tensors(), info)

    @classmethod
    def load(cls, path: Path, settings: NetworkSettings, device: torch.device) -> Member:
        """Read what :meth:`save` wrote.

        Raises
        ------
        BadInput
            When the file is missing or damaged.
        """
        return cls.from_tensors(read_tensors(path), settings, device)

    @classmethod
    def from_tensors(
        cls, tensors: dict[str, Tensor], settings: NetworkSettings, device: torch.device
    ) -> Member:
        """Build from tensors."""
        scaling = Scaling.from_tensors(tensors)
        network = BandNetwork(settings, len(scaling.feature_mean))
        state = {k[8:]: v.float() for k, v in tensors.items() if k.startswith("network.")}
        network.load_state_dict(state)
        return cls(network.to(device).eval(), scaling)


def ensemble_roots(
    members: Sequence[Member], states: Sequence[States], features: np.ndarray
) -> np.ndarray:
    """√barrier by each member of each band, shape (members, n)."""
    device = next(members[0].network.parameters()).device
    scaled = [m.scaling.features(features) for m in members]
    out = np.empty((len(members), len(states)))
    for run in batches_by_budget([s.graph.num_nodes for s in states], NODE_BUDGET, 256):
        with torch.inference_mode():
            x, y, batch = lay([states[i] for i in run], device)
            for row, member, known in zip(out, members, scaled, strict=True):
                row[run] = member.network(x, y, batch, known[run].to(device)).cpu().numpy()
    return np.stack([m.scaling.root(row) for m, row in zip(members, out, strict=True)])


def jittered(band: Band, amount: float, rng: np.random.Generator) -> Band:
    """The band with its host's atoms displaced by normal noise (Å); the path stays."""
    noise = rng.normal(scale=amount, size=band.frac_coords.shape)
    noise[list(band.band_sites)] = 0.0
    return replace(band, frac_coords=band.frac_coords + noise @ np.linalg.inv(band.lattice))


def training_states(
    bands: Sequence[Band], recipe: FinetuneRecipe, trunk: Encoder
) -> list[tuple[list[States], np.ndarray]]:
    """Trunk states and path features of the bands and of jittered copies of them.

    Returns
    -------
    list
        One entry for each copy, the bands as they are first.
    """
    copies = []
    for copy in range(recipe.copies):
        rng = np.random.default_rng([recipe.seed, copy])
        shaken = [jittered(b, recipe.jitter_ang, rng) if copy else b for b in bands]
        states = trunk_states(trunk, [band_graph(b, recipe.graph) for b in shaken])
        copies.append((states, np.array([path_features(b) for b in shaken])))
    return copies


def finetune_member(
    bands: Sequence[Band],
    copies: Sequence[tuple[Sequence[States], np.ndarray]],
    recipe: FinetuneRecipe,
    encoder: Path,
    checkpoint: Path,
    *,
    seed: int,
    device: str = "auto",
    log: Log | None = None,
    stop_after: int | None = None,
) -> Member:
    """Fine-tune one read-out on all of ``bands``.

    Parameters
    ----------
    bands, copies
        Training bands and their :func:`training_states`; each step draws a copy of each band.
    encoder
        Pre-trained encoder (``encoder.safetensors``).
    checkpoint
        File stem of the checkpoints; training goes on from them.
    seed
        Of this member.

    Raises
    ------
    BadInput
        When a band has no barrier, or the encoder does not fit the recipe.
    """
    barriers = require_barriers(bands)
    scaling = Scaling.fit(copies[0][1], barriers)
    target = scaling.target(barriers)
    weight = torch.tensor([b.weight for b in bands], dtype=torch.float32)
    chosen = pick_device(device)
    torch.manual_seed(seed)
    network = BandNetwork(recipe.network, len(FEATURE_NAMES))
    learned = read_tensors(encoder)
    if not any(_late_layer(name, recipe.network) for name in learned):
        raise BadInput(
            f"{encoder}: encoder: holds a trunk alone; read-outs need encoder.safetensors of "
            "`hopscreen em pretrain`"
        )
    for name, value in learned.items():
        place = _late_layer(name, recipe.network)
        if place is not None and place[0] < recipe.network.band_layers:
            network.convs[place[0]].get_parameter(place[1]).data.copy_(value)
    network.to(chosen)

    def loss_of(model: nn.Module, indices: np.ndarray, step: int) -> Tensor:
        picked = np.random.default_rng([seed, step]).integers(len(copies), size=len(indices))
        pairs = list(zip(picked.tolist(), indices.tolist(), strict=True))
        x, y, batch = lay([copies[c][0][i] for c, i in pairs], chosen)
        raw = np.array([copies[c][1][i] for c, i in pairs])
        out = model(x, y, batch, scaling.features(raw).to(chosen)).float()
        rows = torch.from_numpy(indices)
        loss = nn.functional.smooth_l1_loss(
            out, target[rows].to(chosen), beta=recipe.huber, reduction="none"
        )
        return (loss * weight[rows].to(chosen)).sum() / weight[rows].sum().clamp_min(1e-6)

    stamp: dict[str, Any] = {
        "recipe": asdict(recipe),
        "seed": seed,
        "encoder_sha256": sha256(encoder.read_bytes()).hexdigest(),
        "bands": sha256("\n".join(b.id for b in bands).encode()).hexdigest(),
    }
    train(
        network,
        len(bands),
        loss_of,
        recipe.schedule,
        seed=seed,
        device=chosen,
        checkpoint=checkpoint,
        stamp=stamp,
        log=log,
        stop_after=stop_after,
    )
    return Member(network, scaling)
