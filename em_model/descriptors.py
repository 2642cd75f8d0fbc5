"""All that forest and process know of a path, in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from em_model.data import Band
from em_model.elements import standardised
from em_model.features import element_shares, path_features
from em_model.spectra import CHEMISTRY, GEOMETRY, power_spectrum
from em_model.survey import survey


@dataclass(frozen=True, eq=False)
class Descriptors:
    """Descriptors of n bands.

    Attributes
    ----------
    path
        Physical features, shape (n, len(FEATURE_NAMES)).
    geometry, chemistry
        Fingerprints of the surroundings, shape (n, …); see :mod:`em_model.spectra`.
    shares
        Share of each element, shape (n, MAX_NUMBER).
    ion
        Elemental properties of the moving ion, shape (n, properties), standardised.
    trunk
        Pooled states of the pre-trained network, shape (n, 9·hidden); None without one.
    """

    path: np.ndarray
    geometry: np.ndarray
    chemistry: np.ndarray
    shares: np.ndarray
    ion: np.ndarray
    trunk: np.ndarray | None = None

    def rows(self, chosen: Sequence[int] | np.ndarray) -> Descriptors:
        """Those of some of the bands."""
        return Descriptors(
            path=self.path[chosen],
            geometry=self.geometry[chosen],
            chemistry=self.chemistry[chosen],
            shares=self.shares[chosen],
            ion=self.ion[chosen],
            trunk=None if self.trunk is None else self.trunk[chosen],
        )


def describe(bands: Sequence[Band], trunk: np.ndarray | None = None) -> Descriptors:
    """Compute the descriptors of bands; ``trunk`` holds their pooled states, if any."""
    around = [survey(band) for band in bands]
    ions = [one.ion for one in around]
    return Descriptors(
        path=np.array([path_features(b, a) for b, a in zip(bands, around, strict=True)]),
        geometry=np.array([power_spectrum(a, GEOMETRY) for a in around]),
        chemistry=np.array([power_spectrum(a, CHEMISTRY) for a in around]),
        shares=element_shares(bands),
        ion=standardised()[ions].astype(float),
        trunk=trunk,
    )
