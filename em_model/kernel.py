"""The ensemble's third kind of member: a Gaussian process on physical features.

A squared-exponential kernel on standardised path features, the ion and the composition. It
extrapolates more smoothly than trees, and its errors differ from theirs. Hyperparameters come
from the marginal likelihood (Rasmussen and Williams 2006, Eq. 5.8; scikit-learn); what is kept
is the training points and their dual weights, plain arrays.
"""

from __future__ import annotations

import warnings
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

    ``mean`` and ``std`` (f,) standardise the path features; ``points`` (n, f + elements) are
    the training points over the length scale, ``weight`` (n,) their dual weights.
    """

    mean: np.ndarray
    std: np.ndarray
    length: float
    points: np.ndarray
    weight: np.ndarray
    offset: float

    @classmethod
    def fit(cls, paths: np.ndarray, shares: np.ndarray, target: np.ndarray) -> Kernel:
        """Fit to path features (n, f), element shares (n, elements) and target (n,)."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

        std = paths.std(axis=0)
        mean, std = paths.mean(axis=0), np.where(std > 1e-9, std, 1.0)
        points = _points(paths, shares, mean, std)
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
            mean,
            std,
            length,
            (points / length).astype(np.float32),
            scale * process.alpha_,
            float(target.mean()),
        )

    def predict(self, paths: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """Mean of the process, shape (n,)."""
        points = _points(paths, shares, self.mean, self.std) / self.length
        squared = (
            (points**2).sum(axis=1)[:, None]
            + (self.points**2).sum(axis=1)
            - 2.0 * points @ self.points.T
        )
        value = np.exp(-0.5 * np.maximum(squared, 0.0)) @ self.weight + self.offset
        return np.asarray(value)

    def tensors(self) -> dict[str, Tensor]:
        """For a safetensors file."""
        arrays = {k: getattr(self, k) for k in ("mean", "std", "points", "weight")}
        return {f"kernel.{k}": torch.from_numpy(v) for k, v in arrays.items()} | {
            "kernel.scalars": torch.tensor([self.length, self.offset], dtype=torch.float64)
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Kernel:
        """From what :meth:`tensors` gave."""
        length, offset = tensors["kernel.scalars"].tolist()
        arrays = {k: tensors[f"kernel.{k}"].numpy() for k in ("mean", "std", "points", "weight")}
        return cls(**arrays, length=length, offset=offset)


def _points(paths: np.ndarray, shares: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    scaled = np.clip((paths - mean) / std, -CLIP, CLIP) / np.sqrt(paths.shape[1])
    return np.concatenate([scaled, COMPOSITION_SCALE * np.sqrt(shares)], axis=1)
