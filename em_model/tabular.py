"""The members that see numbers, not graphs: forest and kernel, fitted together."""

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
        pools: np.ndarray | None,
        roots: np.ndarray,
        settings: TreeSettings,
        seed: int,
    ) -> Tabular:
        """Fit to bands, their path features (n, f), pooled states (n, p) and √barriers (n,)."""
        changes, shares = rises(paths), element_shares(bands)
        weight = np.array([band.weight for band in bands])
        return cls(
            Forest.fit(np.hstack([paths, shares, changes]), roots, settings, seed, weight),
            Kernel.fit(_blocks(paths, changes, pools), shares, roots),
        )

    def roots(
        self, bands: Sequence[Band], paths: np.ndarray, pools: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """√barrier of the forest, its spread over trees, √barrier of the kernel; (n,) each."""
        changes, shares = rises(paths), element_shares(bands)
        mean, spread = self.forest.predict(np.hstack([paths, shares, changes]))
        return mean, spread, self.kernel.predict(_blocks(paths, changes, pools), shares)

    def tensors(self) -> dict[str, Tensor]:
        """For a safetensors file."""
        return self.forest.tensors() | self.kernel.tensors()

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Tabular:
        """From what :meth:`tensors` gave."""
        return cls(Forest.from_tensors(tensors), Kernel.from_tensors(tensors))


def _blocks(paths: np.ndarray, changes: np.ndarray, pools: np.ndarray | None) -> list[np.ndarray]:
    physical = np.hstack([paths, changes])
    return [physical] if pools is None else [physical, pools]
