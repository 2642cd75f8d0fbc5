"""The ensemble's second kind of member: extremely randomised trees on physical features.

Grown with scikit-learn, kept and evaluated as plain arrays, so that no pickle is needed and a
prediction does not depend on scikit-learn's version. Trees and network err differently: their
mean beats both in host-grouped cross-validation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase.data import atomic_numbers
from torch import Tensor

from em_model.data import Band
from em_model.elements import MAX_NUMBER
from em_model.features import path_features


@dataclass(frozen=True)
class TreeSettings:
    """Settings of the forest.

    Parameters
    ----------
    trees
        Number of trees.
    min_leaf
        Fewest records in a leaf.
    max_features
        Share of the features tried at each split.
    """

    trees: int = 200
    min_leaf: int = 3
    max_features: float = 0.7


def tree_features(band: Band, path: np.ndarray | None = None) -> np.ndarray:
    """Path features followed by the share of each element in the composition.

    Parameters
    ----------
    band
        The band.
    path
        Its :func:`path_features`, when they are there already.

    Returns
    -------
    np.ndarray
        Shape (path features + MAX_NUMBER,).
    """
    share = np.zeros(MAX_NUMBER)
    for symbol, count in Counter(band.species).items():
        share[min(atomic_numbers[symbol], MAX_NUMBER) - 1] += count / len(band.species)
    return np.concatenate([path_features(band) if path is None else path, share])


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees laid end to end; a leaf points at itself.

    ``feature``, ``threshold``, ``left``, ``right``, ``value`` have shape (nodes,); ``root``
    (trees,) holds the first node of each tree; ``depth`` is the deepest tree's.
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray
    root: np.ndarray
    depth: int

    @classmethod
    def fit(
        cls,
        features: np.ndarray,
        target: np.ndarray,
        settings: TreeSettings,
        seed: int,
        weight: np.ndarray | None = None,
    ) -> Forest:
        """Grow a forest on features (n, f) and target (n,)."""
        from sklearn.ensemble import ExtraTreesRegressor

        grown = ExtraTreesRegressor(
            settings.trees,
            min_samples_leaf=settings.min_leaf,
            max_features=settings.max_features,
            random_state=seed,
        ).fit(features.astype(np.float32), target, sample_weight=weight)
        parts: dict[str, list[np.ndarray]] = {
            name: [] for name in ("feature", "threshold", "left", "right", "value")
        }
        roots, offset, depth = [], 0, 0
        for estimator in grown.estimators_:
            tree = estimator.tree_
            here = np.arange(tree.node_count)
            leaf = tree.children_left < 0
            parts["feature"].append(np.where(leaf, 0, tree.feature))
            parts["threshold"].append(tree.threshold)
            parts["left"].append(np.where(leaf, here, tree.children_left) + offset)
            parts["right"].append(np.where(leaf, here, tree.children_right) + offset)
            parts["value"].append(tree.value[:, 0, 0])
            roots.append(offset)
            offset += tree.node_count
            depth = max(depth, tree.max_depth)
        return cls(
            np.concatenate(parts["feature"]).astype(np.int16),
            np.concatenate(parts["threshold"]).astype(np.float32),
            np.concatenate(parts["left"]).astype(np.int32),
            np.concatenate(parts["right"]).astype(np.int32),
            np.concatenate(parts["value"]).astype(np.float32),
            np.array(roots, dtype=np.int32),
            depth,
        )

    def predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation over the trees, each of shape (n,)."""
        features = features.astype(np.float32)
        rows = np.arange(len(features))[:, None]
        node = np.broadcast_to(self.root, (len(features), len(self.root)))
        for _ in range(self.depth):
            goes_left = features[rows, self.feature[node]] <= self.threshold[node]
            node = np.where(goes_left, self.left[node], self.right[node])
        values = self.value[node].astype(float)
        return values.mean(axis=1), values.std(axis=1)

    def tensors(self) -> dict[str, Tensor]:
        """For a safetensors file."""
        arrays = {
            name: torch.from_numpy(getattr(self, name))
            for name in ("feature", "threshold", "left", "right", "value", "root")
        }
        return {f"forest.{k}": v for k, v in arrays.items()} | {
            "forest.depth": torch.tensor([self.depth])
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Forest:
        """From what :meth:`tensors` gave."""
        arrays = {
            name: tensors[f"forest.{name}"].numpy()
            for name in ("feature", "threshold", "left", "right", "value", "root")
        }
        return cls(**arrays, depth=int(tensors["forest.depth"][0]))


def tree_matrix(bands: Sequence[Band], paths: np.ndarray) -> np.ndarray:
    """:func:`tree_features` of many bands whose path features are there, shape (n, f)."""
    return np.array([tree_features(b, p) for b, p in zip(bands, paths, strict=True)])
