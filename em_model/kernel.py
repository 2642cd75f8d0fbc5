"""The model's chief member: a Gaussian process on descriptors and learned states.

Its kernel is a sum of three, each a squared exponential of weighted distances. By the first,
paths are alike that have like features in like compositions; by the second, a broad trend, all
paths of the same ion are, the more the liker their surroundings; by the third, those through the
same polyhedra, whatever the elements. The states of the pre-trained trunk enter the first two (a
deep kernel, Wilson et al., AISTATS 2016, with the network held fixed). With a few hundred barriers
this beats fine-tuning. The dual weights are those of Rasmussen and Williams 2006, Eq. 2.25; what
is kept is the training points and these weights, plain arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from em_model.descriptors import Descriptors

CLIP = 3.0
"""Deviations at which a standardised descriptor is cut."""

TERMS: tuple[tuple[float, dict[str, float]], ...] = (
    (0.2, {"path": 1.5, "trunk": 1.0, "shares": 1.5}),
    (0.6, {"chemistry": 0.15, "path": 0.2, "trunk": 0.1, "shares": 0.1, "ion": 5.0}),
    (0.2, {"geometry": 3.0, "ion": 0.3}),
)
"""Share of each term of the kernel, and what each block counts in its squared distance.

Squared distances of a block are in units of their median over the training points. The values
were chosen, to one digit or so, by host-grouped cross-validation.
"""

OF_ONE_SCALE = ("shares", "ion")
"""Blocks that are not standardised: rare elements would count more than common ones."""

NOISE = 0.02
"""Variance of the noise, in units of the process's own."""

POWER = 0.45
"""The process learns barrier^POWER: more, and the few high barriers rule; less, they are lost."""

_FLOOR = 0.01


@dataclass(frozen=True, eq=False)
class Block:
    """The training points of one block of descriptors.

    ``mean`` and ``std`` (f,) standardise; ``points`` (n, f) are standardised, in half precision;
    ``unit`` is the median of their squared distances.
    """

    mean: np.ndarray
    std: np.ndarray
    points: np.ndarray
    unit: float

    @classmethod
    def fit(cls, raw: np.ndarray, *, standardise: bool) -> Block:
        """From raw descriptors (n, f)."""
        mean, std = np.zeros(raw.shape[1]), np.ones(raw.shape[1])
        if standardise:
            mean, std = raw.mean(axis=0), raw.std(axis=0)
            std = np.where(std > 1e-9, std, 1.0)
        # What is calibrated is what is shipped: in the precision of the file from here on.
        mean, std = mean.astype(np.float32), std.astype(np.float32)
        points = _scaled(raw, mean, std).astype(np.float16)
        squared = _squared(points.astype(float), points.astype(float))
        apart = squared[np.triu_indices(len(points), 1)]
        apart = apart[apart > 1e-9]
        return cls(mean, std, points, float(np.median(apart)) if len(apart) else 1.0)

    @cached_property
    def _known(self) -> np.ndarray:
        return self.points.astype(float)

    def distances(self, raw: np.ndarray) -> np.ndarray:
        """Squared distances of raw descriptors (m, f) to the points, in units of the median."""
        return _squared(_scaled(raw, self.mean, self.std), self._known) / self.unit


@dataclass(frozen=True, eq=False)
class Kernel:
    """Dual form of the process's mean: (Σ weightᵢ k(x, xᵢ) + offset)^(0.5 / POWER) is √barrier.

    ``blocks`` by name; ``weight`` (n,) are the dual weights.
    """

    blocks: dict[str, Block]
    weight: np.ndarray
    offset: float

    @classmethod
    def fit(cls, known: Descriptors, roots: np.ndarray, weight: np.ndarray) -> Kernel:
        """Fit to the descriptors, √barriers (n,) and weights (n,) of training bands."""
        raw = _blocks(known)
        blocks = {
            name: Block.fit(values, standardise=name not in OF_ONE_SCALE)
            for name, values in raw.items()
        }
        target = np.maximum(roots, 0.0) ** (2 * POWER)
        weight = np.maximum(weight, 1e-6)
        offset = float(np.average(target, weights=weight))
        gram = _gram({name: block.distances(raw[name]) for name, block in blocks.items()})
        dual = np.linalg.solve(gram + np.diag(NOISE / weight), target - offset)
        return cls(blocks, dual, offset)

    def roots(self, asked: Descriptors) -> np.ndarray:
        """√barrier, shape (m,)."""
        raw = _blocks(asked)
        gram = _gram({name: block.distances(raw[name]) for name, block in self.blocks.items()})
        value = gram @ self.weight + self.offset
        return np.asarray(np.maximum(value, _FLOOR) ** (0.5 / POWER))

    def tensors(self) -> dict[str, Tensor]:
        """For a safetensors file."""
        out = {
            "kernel.weight": torch.from_numpy(self.weight),
            "kernel.offset": torch.tensor([self.offset], dtype=torch.float64),
        }
        for name, block in self.blocks.items():
            for part in ("mean", "std", "points"):
                out[f"kernel.{name}.{part}"] = torch.from_numpy(getattr(block, part))
            out[f"kernel.{name}.unit"] = torch.tensor([block.unit], dtype=torch.float64)
        return out

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Kernel:
        """From what :meth:`tensors` gave."""
        names = [key.split(".")[1] for key in tensors if key.endswith(".unit")]
        blocks = {}
        for name in sorted(names):
            mean, std, points, unit = (
                tensors[f"kernel.{name}.{part}"].numpy()
                for part in ("mean", "std", "points", "unit")
            )
            blocks[name] = Block(mean, std, points, float(unit[0]))
        return cls(blocks, tensors["kernel.weight"].numpy(), float(tensors["kernel.offset"][0]))


def _blocks(descriptors: Descriptors) -> dict[str, np.ndarray]:
    """Blocks by name, sorted; the square root lets small shares count."""
    found = {
        "chemistry": descriptors.chemistry,
        "geometry": descriptors.geometry,
        "ion": descriptors.ion,
        "path": descriptors.path,
        "shares": np.sqrt(descriptors.shares),
    }
    return found if descriptors.trunk is None else found | {"trunk": descriptors.trunk}


def _scaled(raw: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    return np.clip((raw - mean) / std, -CLIP, CLIP)


def _squared(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    both = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)
    return np.asarray(np.maximum(both - 2.0 * one @ other.T, 0.0))


def _gram(distances: dict[str, np.ndarray]) -> np.ndarray:
    """Sum of the terms; a block that a model lacks is left out."""
    total = np.zeros_like(next(iter(distances.values())))
    for share, parts in TERMS:
        squared = sum(w * distances[name] for name, w in parts.items() if name in distances)
        total += share * np.exp(-0.5 * np.asarray(squared))
    return total
