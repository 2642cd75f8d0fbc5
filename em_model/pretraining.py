"""Pre-training on bulk properties: seven heads on one encoder, masked L1 loss.

Multi-property pre-training as in Devi, Butler and Sai Gautam, npj Comput. Mater. (2024)
s41524-024-01486-1, used for the band models in arXiv 2508.06436 (Eq. 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from em_model.data import PROPERTIES, Crystal, read_crystals
from em_model.errors import BadInput
from em_model.graphs import Graph, GraphSettings, collate, crystal_graph
from em_model.network import NetworkSettings, PropertyNetwork
from em_model.training import Log, Schedule, pick_device, train, write_tensors


@dataclass(frozen=True)
class PretrainRecipe:
    """Everything that decides the weights of a pre-training run, besides the data.

    ``held_out`` is the share of records kept for the error of properties that come without a
    published test split; ``max_atoms`` leaves larger crystals out, most of the cost.
    """

    seed: int = 0
    max_atoms: int = 40
    held_out: float = 0.03
    network: NetworkSettings = field(default_factory=NetworkSettings)
    graph: GraphSettings = field(default_factory=GraphSettings)
    schedule: Schedule = field(default_factory=Schedule)


def masked_l1(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute error over the properties that are known (``mask`` 1).

    Parameters
    ----------
    predicted, target, mask
        Shape (records, properties).
    """
    return ((predicted - target).abs() * mask).sum() / mask.sum().clamp_min(1)


def pretrain(
    data: Path,
    recipe: PretrainRecipe,
    folder: Path,
    *,
    device: str = "auto",
    log: Log | None = None,
    stop_after: int | None = None,
) -> dict[str, Any]:
    """Pre-train an encoder; writes ``encoder.safetensors`` and checkpoints into ``folder``.

    Returns
    -------
    dict
        ``test_mae`` by property (of values scaled to [−1, 1]), ``epochs``, ``wall_s``.
    """
    crystals = read_crystals(data, max_atoms=recipe.max_atoms)
    training, testing = _split(crystals, recipe)
    if not training:
        raise BadInput(f"{data}: split: no record says train; nothing to learn from")
    if log:
        log(f"{len(training)} crystals to learn from, {len(testing)} kept out; cutting graphs")
    graphs = [crystal_graph(c, recipe.graph) for c in training]
    column = torch.tensor([PROPERTIES.index(c.property) for c in training])
    value = torch.tensor([c.value for c in training], dtype=torch.float32)
    chosen = pick_device(device)
    torch.manual_seed(recipe.seed)
    model = PropertyNetwork(recipe.network, len(PROPERTIES)).to(chosen)

    def loss_of(net: nn.Module, indices: np.ndarray, step: int) -> Tensor:
        out = net(collate([graphs[i] for i in indices]).to(chosen)).float()
        rows = torch.from_numpy(indices)
        mask = nn.functional.one_hot(column[rows], len(PROPERTIES)).to(out)
        return masked_l1(out, value[rows].to(out)[:, None].expand_as(out), mask)

    stamp: dict[str, Any] = {
        "recipe": asdict(recipe),
        "data_sha256": sha256(data.read_bytes()).hexdigest(),
    }
    # Where to stop is no part of it: a run can be taken further.
    del stamp["recipe"]["schedule"]["stop_epoch"]
    progress = train(
        model,
        len(graphs),
        loss_of,
        recipe.schedule,
        seed=recipe.seed,
        device=chosen,
        checkpoint=folder / "pretrain",
        stamp=stamp,
        log=log,
        stop_after=stop_after,
    )
    write_tensors(
        folder / "encoder.safetensors",
        model.encoder.state_dict(),
        {"stage": "pretrained encoder", "step": str(progress.step)},
    )
    return {
        "test_mae": property_errors(model, testing, recipe.graph),
        "train_loss": progress.losses,
        "wall_s": progress.wall_s,
        "step": progress.step,
    }


@torch.no_grad()
def property_errors(
    model: PropertyNetwork, crystals: Sequence[Crystal], settings: GraphSettings
) -> dict[str, float]:
    """Mean absolute error of each property on crystals kept out."""
    errors: dict[str, list[float]] = {}
    device = next(model.parameters()).device
    for begin in range(0, len(crystals), 64):
        part = crystals[begin : begin + 64]
        graphs: list[Graph] = [crystal_graph(c, settings) for c in part]
        out = model(collate(graphs).to(device)).cpu().numpy()
        for row, crystal in zip(out, part, strict=True):
            error = abs(float(row[PROPERTIES.index(crystal.property)]) - crystal.value)
            errors.setdefault(crystal.property, []).append(error)
    return {name: float(np.mean(errors[name])) for name in PROPERTIES if name in errors}


def _split(
    crystals: Sequence[Crystal], recipe: PretrainRecipe
) -> tuple[list[Crystal], list[Crystal]]:
    """Published split where there is one, else a random share of the property's records."""
    published = {c.property for c in crystals if c.split == "test"}
    draw = np.random.default_rng(recipe.seed).random(len(crystals))
    training: list[Crystal] = []
    testing: list[Crystal] = []
    for crystal, x in zip(crystals, draw, strict=True):
        kept_out = crystal.split == "test" or (
            crystal.property not in published and x < recipe.held_out
        )
        (testing if kept_out else training).append(crystal)
    return training, testing
