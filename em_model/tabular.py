"""The members of the model, fitted together: forest and Gaussian process."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from em_model.descriptors import Descriptors
from em_model.kernel import Kernel
from em_model.trees import Forest, TreeSettings


@dataclass(frozen=True, eq=False)
class Tabular:
    """A forest and a Gaussian process on the same bands; both learn √barrier."""

    forest: Forest
    kernel: Kernel

    @classmethod
    def fit(
        cls,
        known: Descriptors,
        roots: np.ndarray,
        weight: np.ndarray,
        settings: TreeSettings,
        seed: int,
    ) -> Tabular:
        """Fit to the descriptors, √barriers (n,) and weights (n,) of training bands."""
        return cls(
            Forest.fit(_columns(known), roots, settings, seed, weight),
            Kernel.fit(known, roots, weight),
        )

    def roots(self, asked: Descriptors) -> tuple[np.ndarray, np.ndarray]:
        """√barriers of forest and process, shape (n, 2), and the forest's spread, (n,)."""
        mean, spread = self.forest.predict(_columns(asked))
        return np.stack([mean, self.kernel.roots(asked)], axis=1), spread

    def tensors(self) -> dict[str, Tensor]:
        """For a safetensors file."""
        return self.forest.tensors() | self.kernel.tensors()

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Tabular:
        """From what :meth:`tensors` gave."""
        return cls(Forest.from_tensors(tensors), Kernel.from_tensors(tensors))


def _columns(descriptors: Descriptors) -> np.ndarray:
    return np.hstack([descriptors.path, descriptors.shares])
