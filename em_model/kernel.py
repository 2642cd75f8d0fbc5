"""The ensemble's chief member: a Gaussian process on physical features and learned states.

A squared-exponential kernel on standardised path features, composition, and what the
pre-trained trunk says of the path's sites and their surroundings (a deep kernel, Wilson et al.,
AISTATS 2016, with the network held fixed). With a few hundred barriers it beats fine-tuning.
Hyperparameters come from the marginal likelihood (Rasmussen and Williams 2006, Eq. 5.8;
scikit-learn); what is kept is the training points and their dual weights, plain arrays.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

CLIP = 3.0
"""Deviations at which a standardised feature is cut."""

COMPOSITION_SCALE = 0.75
"""Of the square roots of element shares against all path features together."""


@dataclass(frozen=True, eq=False)
class Kernel:
    """Dual form of the process's mean: Σ weightᵢ exp(−|x − xᵢ|²/2) + offset.

    ``mean`` and ``std`` (f,) standardise the blocks of features laid side by side, of which
    block i is ``widths[i]`` wide; ``points`` (n, f + elements) are the training points in
    half precision, ``weight`` (n,) their dual weights.
    """

    widths: tuple[int, ...]
    mean: np.ndarray
    std: np.ndarray
    length: float
    points: np.ndarray
    weight: np.ndarray
    offset: float

    @classmethod
    def fit(cls, blocks: Sequence[np.ndarray], shares: np.ndarray, target: np.ndarray) -> Kernel:
        """Fit to blocks of features (n, width), element shares (n, elements), target (n,).

        Each block counts alike, however wide.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

        features, widths = np.hstack(blocks), tuple(block.shape[1] for block in blocks)
        std = features.std(axis=0)
        mean, std = features.mean(axis=0), np.where(std > 1e-9, std, 1.0)
        points = _points(features, shares, mean, std, widths)
        points = points.astype(np.float16).astype(float)
        with warnings.catch_warnings():
            # A bound that is reached is an answer, not a failure.
            warnings.simplefilter("ignore", ConvergenceWarning)
            process = GaussianProcessRegressor(
                ConstantKernel(1.0) * RBF(1.0) + WhiteKernel(0.1), normalize_y=True
            ).fit(points, target)
        learned = process.kernel_.get_params()
        length = float(learned["k1__k2__length_scale"])
        scale = float(target.std()) * float(learned["k1__k1__constant_value"])
        return cls(
            widths,
            mean.astype(np.float32),
            std.astype(np.float32),
            length,
            points.astype(np.float16),
            scale * process.alpha_,
            float(target.mean()),
        )

    def predict(self, blocks: Sequence[np.ndarray], shares: np.ndarray) -> np.ndarray:
        """Mean of the process, shape (n,)."""
        points = _points(np.hstack(blocks), shares, self.mean, self.std, self.widths)
        known = self.points.astype(float)
        squared = (
            (points**2).sum(axis=1)[:, None] + (known**2).sum(axis=1) - 2.0 * points @ known.T
        ) / self.length**2
        value = np.exp(-0.5 * np.maximum(squared, 0.0)) @ self.weight + self.offset
        return np.asarray(value)

    def tensors(self) -> dict[str, Tensor]:
        """For a safetensors file."""
        arrays = {k: getattr(self, k) for k in ("mean", "std", "points", "weight")}
        return {f"kernel.{k}": torch.from_numpy(v) for k, v in arrays.items()} | {
            "kernel.widths": torch.tensor(self.widths),
            "kernel.scalars": torch.tensor([self.length, self.offset], dtype=torch.float64),
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Kernel:
        """From what :meth:`tensors` gave."""
        length, offset = tensors["kernel.scalars"].tolist()
        arrays = {k: tensors[f"kernel.{k}"].numpy() for k in ("mean", "std", "points", "weight")}
        widths = tuple(tensors["kernel.widths"].tolist())
        return cls(widths=widths, **arrays, length=length, offset=offset)


def _points(
    features: np.ndarray,
    shares: np.ndarray,
    mean: np.ndarray,
    std: np.ndarray,
    widths: tuple[int, ...],
) -> np.ndarray:
    scaled = np.clip((features - mean) / std, -CLIP, CLIP) / np.sqrt(np.repeat(widths, widths))
    return np.concatenate([scaled, COMPOSITION_SCALE * np.sqrt(shares)], axis=1)
