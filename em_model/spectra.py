"""Fingerprints of a path: power spectra of the densities of atoms around its points.

The smooth overlap of atomic positions (Bartók, Kondor and Csányi, Phys. Rev. B 87, 184115
(2013)) with Gaussian shells instead of orthogonal radial functions, and with kinds of atoms
(anion, cation, moving ion) and weights of their chemistry instead of elements, so that a spinel
of chromium resembles one of manganese. By the addition theorem of spherical harmonics

    p_l[ab] = Σᵢⱼ g_a(i) g_b(j) P_l(cos θᵢⱼ),

with g_a(i) the share of atom i in shell and channel a, and P_l the Legendre polynomials; no
harmonics have to be computed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from em_model.elements import column
from em_model.survey import Survey


@dataclass(frozen=True)
class Spectrum:
    """Settings of a fingerprint.

    Parameters
    ----------
    shells, degrees
        Gaussian shells and Legendre polynomials (from degree 0).
    cutoff_ang
        Atoms beyond do not count; they fade towards it.
    chemistry
        Whether channels tell kinds of anions and cations apart.
    stride
        Every how many of the survey's points are described.
    """

    shells: int
    degrees: int
    cutoff_ang: float
    chemistry: bool
    stride: int = 1


GEOMETRY = Spectrum(shells=5, degrees=5, cutoff_ang=4.0, chemistry=False)
"""The polyhedra and bottlenecks that the ion passes, whoever builds them."""

CHEMISTRY = Spectrum(shells=4, degrees=4, cutoff_ang=5.0, chemistry=True, stride=2)
"""A wider neighbourhood, with charges, radii and electronegativities of its atoms."""


def power_spectrum(around: Survey, settings: Spectrum) -> np.ndarray:
    """Spectra along a path, the same from both ends, on a logarithmic scale.

    Returns
    -------
    np.ndarray
        Shape (pairs of points × degrees × pairs of channels and shells,).
    """
    channels = _channels(around, settings)
    points = around.points[:: settings.stride]
    rows = np.array([_at(point, around.positions, channels, settings) for point in points])
    rows = np.sign(rows) * np.log1p(np.abs(rows))
    # A path and its reverse are one: points at equal distance from the ends are averaged.
    half = 0.5 * (rows + rows[::-1])[: (len(rows) + 1) // 2]
    return np.asarray(half.ravel())


def _channels(around: Survey, settings: Spectrum) -> np.ndarray:
    anion, cation = around.anions * 1.0, around.cations * 1.0
    kinds = [anion, cation, around.same * 1.0]
    if settings.chemistry:
        z = around.numbers
        kinds += [
            anion * (column("pauling_electronegativity")[z] - 3.0),
            cation * (around.charges - 3.5) / 2.0,
            cation * (column("bv_radius_ang")[z] - 1.7) * 3.0,
        ]
    return np.stack(kinds, axis=1)


def _at(
    point: np.ndarray, positions: np.ndarray, channels: np.ndarray, settings: Spectrum
) -> np.ndarray:
    away = positions - point
    distance = np.linalg.norm(away, axis=1)
    near = (distance < settings.cutoff_ang) & (distance > 0.2)
    away, distance, kind = away[near], distance[near], channels[near]
    centres = np.linspace(1.2, settings.cutoff_ang - 0.4, settings.shells)
    width = 0.75 * (centres[1] - centres[0])
    fade = 0.5 * (1.0 + np.cos(np.pi * distance / settings.cutoff_ang))
    shell = np.exp(-0.5 * ((distance[:, None] - centres) / width) ** 2) * fade[:, None]
    share = (shell[:, :, None] * kind[:, None, :]).reshape(len(distance), -1)
    upper = np.triu_indices(share.shape[1])
    unit = away / distance[:, None]
    cosine = unit @ unit.T
    before, legendre = np.zeros_like(cosine), np.ones_like(cosine)
    out = []
    for degree in range(settings.degrees):
        out.append((share.T @ legendre @ share)[upper])
        # Bonnet's recursion.
        following = ((2 * degree + 1) * cosine * legendre - degree * before) / (degree + 1)
        before, legendre = legendre, following
    return np.concatenate(out)
