"""The ensemble's second kind of member: extremely randomised trees on physical features.

Grown with scikit-learn, kept and evaluated as plain arrays, so that no pickle is needed and a
prediction does not depend on scikit-learn's version.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


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

    trees: int = 150
    min_leaf: int = 3
    max_features: float = 0.7


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees laid end to end, each node before its children, the left child right behind it.

    ``feature`` (nodes,) is −1 in leaves; ``right`` (nodes,) is the right child, of a leaf the
    leaf itself; ``threshold`` and ``value`` (nodes,); ``root`` (trees,) holds the first node of
    each tree; ``depth`` is the deepest tree's.
    """

    feature: np.ndarray
    threshold: np.ndarray
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
            name: [] for name in ("feature", "threshold", "right", "value")
        }
        roots, offset, depth = [], 0, 0
        for estimator in grown.estimators_:
            tree = estimator.tree_
            here = np.arange(tree.node_count)
            leaf = tree.children_left < 0
            parts["feature"].append(np.where(leaf, -1, tree.feature))
            parts["threshold"].append(tree.threshold)
            parts["right"].append(np.where(leaf, here, tree.children_right) + offset)
            parts["value"].append(tree.value[:, 0, 0])
            roots.append(offset)
            offset += tree.node_count
            depth = max(depth, tree.max_depth)
        return cls(
            np.concatenate(parts["feature"]).astype(np.int16),
            np.concatenate(parts["threshold"]).astype(np.float32),
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
            feature = self.feature[node]
            left = (features[rows, feature] <= self.threshold[node]) & (feature >= 0)
            node = np.where(left, node + 1, self.right[node])
        values = self.value[node].astype(float)
        return values.mean(axis=1), values.std(axis=1)

    def tensors(self) -> dict[str, Tensor]:
        """For a safetensors file."""
        arrays = {
            name: torch.from_numpy(getattr(self, name))
            for name in ("feature", "threshold", "right", "value", "root")
        }
        return {f"forest.{k}": v for k, v in arrays.items()} | {
            "forest.depth": torch.tensor([self.depth])
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Forest:
        """From what :meth:`tensors` gave."""
        arrays = {
            name: tensors[f"forest.{name}"].numpy()
            for name in ("feature", "threshold", "right", "value", "root")
        }
        return cls(**arrays, depth=int(tensors["forest.depth"][0]))
