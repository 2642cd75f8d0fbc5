"""Fine-tuning the network on bands: one member for each host-grouped fold.

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
from em_model.features import FEATURE_NAMES, path_features
from em_model.graphs import Graph, GraphSettings, band_graph, batches_by_budget, collate
from em_model.network import BandNetwork, NetworkSettings, constants
from em_model.training import Log, Schedule, pick_device, read_tensors, train, write_tensors

NODE_BUDGET = 1500
"""Nodes in one forward pass of inference: about 15 paths, some 100 MB."""


@dataclass(frozen=True)
class FinetuneRecipe:
    """Everything that decides the weights of the fine-tuned members, besides the data.

    ``jitter_ang`` displaces the host's atoms by normal noise of this deviation in training;
    ``huber`` is the residual, in deviations of the target, where the loss turns linear.
    """

    seed: int = 0
    folds: int = 5
    split_seed: int = 0
    jitter_ang: float = 0.03
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
class Member:
    """One fine-tuned network with its scaling."""

    network: BandNetwork
    scaling: Scaling

    def roots(self, graphs: Sequence[Graph], features: np.ndarray) -> np.ndarray:
        """√barrier of each band, shape (n,)."""
        device = next(self.network.parameters()).device
        scaled = self.scaling.features(features)
        out = np.empty(len(graphs))
        runs = batches_by_budget([g.num_nodes for g in graphs], NODE_BUDGET, 256)
        with torch.inference_mode():
            for run in runs:
                batch = collate([graphs[i] for i in run]).to(device)
                out[run] = self.network(batch, scaled[run].to(device))[:, 0].cpu().numpy()
        return self.scaling.root(out)

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
        tensors = read_tensors(path)
        return cls.from_tensors(tensors, settings, device)

    @classmethod
    def from_tensors(
        cls, tensors: dict[str, Tensor], settings: NetworkSettings, device: torch.device
    ) -> Member:
        """Build from tensors; the initial values that a fresh network draws are skipped."""
        scaling = Scaling.from_tensors(tensors)
        with torch.device("meta"):
            network = BandNetwork(settings, len(scaling.feature_mean))
        state = {k[8:]: v.float() for k, v in tensors.items() if k.startswith("network.")}
        network.load_state_dict(state, assign=True)
        for name, value in constants(settings).items():
            setattr(network.encoder, name, value)
        return cls(network.to(device).eval(), scaling)


def jittered(band: Band, amount: float, rng: np.random.Generator) -> Band:
    """The band with its host's atoms displaced by normal noise (Å); the path stays."""
    noise = rng.normal(scale=amount, size=band.frac_coords.shape)
    noise[list(band.band_sites)] = 0.0
    return replace(band, frac_coords=band.frac_coords + noise @ np.linalg.inv(band.lattice))


def finetune_member(
    bands: Sequence[Band],
    recipe: FinetuneRecipe,
    encoder: Path | None,
    checkpoint: Path,
    *,
    seed: int,
    device: str = "auto",
    log: Log | None = None,
    stop_after: int | None = None,
) -> Member:
    """Fine-tune one network on all of ``bands``.

    Parameters
    ----------
    encoder
        Pre-trained encoder (``encoder.safetensors``), None to start from scratch.
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
    features = np.array([path_features(b) for b in bands])
    scaling = Scaling.fit(features, barriers)
    target = scaling.target(barriers)
    weight = torch.tensor([b.weight for b in bands], dtype=torch.float32)
    chosen = pick_device(device)
    torch.manual_seed(seed)
    network = BandNetwork(recipe.network, len(FEATURE_NAMES)).to(chosen)
    start = None
    if encoder is not None:
        network.encoder.load_state_dict(read_tensors(encoder))
        start = sha256(encoder.read_bytes()).hexdigest()

    def loss_of(model: nn.Module, indices: np.ndarray, step: int) -> Tensor:
        rng = np.random.default_rng([seed, step])
        batch = [jittered(bands[i], recipe.jitter_ang, rng) for i in indices]
        raw = np.array([path_features(b) for b in batch])
        graphs = collate([band_graph(b, recipe.graph) for b in batch]).to(chosen)
        out = model(graphs, scaling.features(raw).to(chosen))[:, 0].float()
        rows = torch.from_numpy(indices)
        loss = nn.functional.smooth_l1_loss(
            out, target[rows].to(chosen), beta=recipe.huber, reduction="none"
        )
        return (loss * weight[rows].to(chosen)).sum() / weight[rows].sum().clamp_min(1e-6)

    stamp: dict[str, Any] = {
        "recipe": asdict(recipe),
        "seed": seed,
        "encoder_sha256": start,
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
