"""The members that see physical features alone: forest and kernel, fitted together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from em_model.data import Band
from em_model.features import element_shares, rises
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
        bands: Sequence[Band],
        paths: np.ndarray,
        roots: np.ndarray,
        settings: TreeSettings,
        seed: int,
    ) -> Tabular:
        """Fit to bands, their path features (n, f) and √barriers (n,)."""
        changes, shares = rises(paths), element_shares(bands)
        weight = np.array([band.weight for band in bands])
        return cls(
            Forest.fit(np.hstack([paths, shares, changes]), roots, settings, seed, weight),
            Kernel.fit(np.hstack([paths, changes]), shares, roots),
        )

    def roots(
        self, bands: Sequence[Band], paths: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """√barrier of the forest, its spread over trees, √barrier of the kernel; (n,) each."""
        changes, shares = rises(paths), element_shares(bands)
        mean, spread = self.forest.predict(np.hstack([paths, shares, changes]))
        return mean, spread, self.kernel.predict(np.hstack([paths, changes]), shares)

    def tensors(self) -> dict[str, Tensor]:
        """For a safetensors file."""
        return self.forest.tensors() | self.kernel.tensors()

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Tabular:
        """From what :meth:`tensors` gave."""
        return cls(Forest.from_tensors(tensors), Kernel.from_tensors(tensors))
