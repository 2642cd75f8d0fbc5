"""The trunk of the band model: the pre-trained network's layers with angles, held fixed.

With a few hundred barriers, fine-tuning these layers made the error on unseen hosts larger. So
they stay as pre-training left them, and their states around a path are descriptors of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from em_model.errors import BadInput
from em_model.graphs import Graph, batches_by_budget, collate
from em_model.network import Encoder, NetworkSettings
from em_model.training import read_tensors

NODE_BUDGET = 1500
"""Nodes in one forward pass of inference: about 15 paths, some 100 MB."""


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
        {k: v for k, v in tensors.items() if not _is_late(k, settings)},
        settings,
        device,
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


def _is_late(name: str, settings: NetworkSettings) -> bool:
    """Whether a tensor belongs to a layer without angles, behind the trunk."""
    parts = name.split(".", 2)
    return parts[0] == "convs" and int(parts[1]) >= settings.alignn_layers


def pooled_states(trunk: Encoder, graphs: Sequence[Graph]) -> np.ndarray:
    """What the trunk says of each path's ends, middle and inner sites.

    Of each of them: the states of the site, of its surroundings and of its bonds, the latter two
    weighted means. The same from both ends. A bounded number of atoms is computed at a time.

    Returns
    -------
    np.ndarray
        Shape (n, 9·hidden).
    """
    device = next(trunk.parameters()).device
    out = np.empty((len(graphs), 9 * trunk.settings.hidden))
    for run in batches_by_budget([g.num_nodes for g in graphs], NODE_BUDGET, 256):
        batch = collate([graphs[i] for i in run]).to(device)
        with torch.inference_mode():
            atoms, bonds = trunk.trunk(batch)
            sites = batch.start[:, None] + torch.arange(5, device=device)
            weight = batch.weight[sites].unsqueeze(-1)
            total = weight.sum(2) + 1e-3
            around = (atoms[batch.neighbour[sites]] * weight).sum(2) / total
            bonded = (bonds[sites] * weight).sum(2) / total
            states = torch.stack([atoms[sites], around, bonded], dim=2)
            ends, inner = 0.5 * (states[:, 0] + states[:, 4]), states[:, 1:4].mean(1)
            pooled = torch.stack([ends, states[:, 2], inner], dim=1)
        out[run] = pooled.flatten(1).cpu().numpy()
    return out
