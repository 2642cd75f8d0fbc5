"""Bands and bulk crystals: the records the band model learns from, and their readers.

A band is a periodic host with the migrating ion drawn at several places of its path at once
(initial site, linear interpolations, final site), as in the data set of Devi, Balasubramanian,
Butler and Sai Gautam (arXiv 2508.06459).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np

from em_model.errors import BadInput
from em_model.published_json import published_records
from em_model.records import json_lines, maybe_json, number, structure

PROPERTIES: tuple[str, ...] = (
    "formation_energy",
    "band_gap_dft",
    "shear_modulus",
    "band_gap_experimental",
    "phonon_peak",
    "dielectric_constant",
    "piezoelectric_modulus",
)
"""The seven bulk properties of the pre-training set."""


@dataclass(frozen=True, eq=False)
class Band:
    """A path of one ion through a periodic host.

    Parameters
    ----------
    id
        Identifier, unique within a data set.
    working_ion
        Element symbol of the migrating ion.
    lattice
        Shape (3, 3), Å, rows are the lattice vectors.
    species
        Element symbols of all sites, band and host.
    frac_coords
        Shape (n, 3), fractional; the band's sites are unwrapped, so that neighbours along the
        path are joined by the straight line between them.
    band_sites
        Indices of the path's sites, in order: initial, intermediate ones, final.
    barrier_ev
        Migration barrier in eV, None where it is not known.
    host
        Name of the host that paths share (see :func:`assign_hosts`).
    system, structure_class
        Names given by the source.
    weight
        Weight of the record in training.
    added
        Whether it joined a data set later (a screen's own result): :func:`host_folds` then leaves
        the folds of the others as they were.
    """

    id: str
    working_ion: str
    lattice: np.ndarray
    species: tuple[str, ...]
    frac_coords: np.ndarray
    band_sites: tuple[int, ...] = (0, 1, 2, 3, 4)
    barrier_ev: float | None = None
    host: str | None = None
    system: str = ""
    structure_class: str = ""
    weight: float = 1.0
    added: bool = False

    @property
    def path_cart(self) -> np.ndarray:
        """Cartesian positions of the band's sites, shape (len(band_sites), 3), Å."""
        path = self.frac_coords[list(self.band_sites)] @ self.lattice
        return np.asarray(path)

    @property
    def length_ang(self) -> float:
        """Length of the polyline through the band's sites in Å."""
        return float(np.linalg.norm(np.diff(self.path_cart, axis=0), axis=1).sum())

    @property
    def host_sites(self) -> np.ndarray:
        """Indices of the sites that are not the band's."""
        mask = np.ones(len(self.species), dtype=bool)
        mask[list(self.band_sites)] = False
        return np.flatnonzero(mask)

    @property
    def framework(self) -> str:
        """Reduced formula of everything but the working ion, alphabetic: ``Cr1O2``."""
        counts = Counter(s for s in self.species if s != self.working_ion)
        divisor = reduce(gcd, counts.values(), 0) or 1
        return "".join(f"{element}{n // divisor}" for element, n in sorted(counts.items()))

    def reversed(self) -> Band:
        """The same band walked the other way."""
        return Band(**{**self.__dict__, "band_sites": self.band_sites[::-1]})


@dataclass(frozen=True, eq=False)
class Crystal:
    """A bulk structure with one of its :data:`PROPERTIES` (scaled to [−1, 1] at the source)."""

    id: str
    property: str
    value: float
    split: str
    lattice: np.ndarray
    species: tuple[str, ...]
    frac_coords: np.ndarray


def read_bands(path: str | Path, *, need_barrier: bool = False) -> list[Band]:
    """Read bands from JSON lines, or from an export of the papers' authors; plain or gzipped.

    A name that ends in ``.json`` or ``.json.gz`` is an export (:mod:`em_model.published_json`);
    any other is JSON lines, one record a line. Fields of such a record: ``working_ion``,
    ``lattice``, ``species``, ``frac_coords``; optional: ``id``, ``barrier_ev``, ``band_sites``
    (default 0–4), ``system``, ``structure_class``, ``host``, ``weight``. Other fields are ignored.

    Parameters
    ----------
    path
        ``.jsonl``, ``.jsonl.gz``, ``.json`` or ``.json.gz``.
    need_barrier
        Refuse records without ``barrier_ev`` (training, evaluation).

    Raises
    ------
    BadInput
        When the file cannot be read or a record is not a band.
    """
    export = Path(path).name.removesuffix(".gz").endswith(".json")
    records = published_records(path) if export else json_lines(path)
    bands = [_band(record, where, need_barrier) for where, record in records]
    twice = [band_id for band_id, n in Counter(b.id for b in bands).items() if n > 1]
    if twice:
        raise BadInput(f"{path}: id: {twice[0]!r} stands for several records; make ids unique")
    return assign_hosts(bands)


def read_crystals(path: str | Path, *, max_atoms: int | None = None) -> list[Crystal]:
    """Read bulk crystals with one property each (``property``, ``value``, ``split``).

    Raises
    ------
    BadInput
        When the file cannot be read or a record is not a crystal with a known property.
    """
    crystals: list[Crystal] = []
    for where, record in json_lines(path):
        name = record.get("property")
        if name not in PROPERTIES:
            raise BadInput(f"{where}: property: {name!r} is not one of {', '.join(PROPERTIES)}")
        lattice, species, frac_coords = structure(record, where)
        if max_atoms is None or len(species) <= max_atoms:
            crystals.append(
                Crystal(
                    id=str(record.get("id", len(crystals))),
                    property=name,
                    value=number(record, "value", where),
                    split=str(record.get("split", "train")),
                    lattice=lattice,
                    species=species,
                    frac_coords=frac_coords,
                )
            )
    return crystals


def assign_hosts(bands: Sequence[Band]) -> list[Band]:
    """Give every band without one the name of its host.

    Two bands share a host when their compositions without the working ion reduce to the same
    formula (charged and discharged states, polymorphs and other ions in the same framework
    count as one), or when their ``system`` names differ only in the ``_N`` of the path; both
    relations are closed transitively. A host that a record names itself is kept, and bands so
    related to it get its name. Splitting by it is stricter than by material, on
    purpose: what counts is the error on hosts never seen.
    """
    parent: dict[str, str] = {}

    def find(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    frameworks = ["framework:" + band.framework for band in bands]
    for band, framework in zip(bands, frameworks, strict=True):
        system = re.sub(r"(_\d+)+$", "", band.system)
        for kind, name in (("system", system), ("host", band.host)):
            if name:
                a, b = sorted((find(framework), find(f"{kind}:{name}")))
                parent[b] = a
    # A name that was given stands for all that it is joined to.
    given: dict[str, str] = {}
    for band, framework in zip(bands, frameworks, strict=True):
        if band.host is not None:
            root = find(framework)
            given[root] = min(given.get(root, band.host), band.host)
    named = []
    for band, framework in zip(bands, frameworks, strict=True):
        if band.host is None:
            root = find(framework)
            band = replace(band, host=given.get(root, root.partition(":")[2]))
        named.append(band)
    return named


def host_folds(bands: Sequence[Band], folds: int, seed: int) -> np.ndarray:
    """Fold number of each band, so that no host stands in two folds.

    Hosts are dealt out in random order, each to the fold with the fewest bands so far. Those of
    bands that were ``added`` alone come after all others, so that a model trained with them can be
    compared with one trained without.

    Returns
    -------
    np.ndarray
        Shape (len(bands),), integers in [0, folds).
    """
    named = assign_hosts(bands)
    fold_of_host: dict[str, int] = {}
    sizes = np.zeros(folds, dtype=int)
    for added in (False, True):
        members = Counter(str(band.host) for band in named if band.added is added)
        hosts = sorted(members.keys() - fold_of_host.keys())
        np.random.default_rng(seed).shuffle(hosts)
        # Large hosts first keeps the folds level; the shuffle decides among equals.
        hosts.sort(key=lambda host: -members[host])
        for host in hosts:
            fold_of_host[host] = int(np.argmin(sizes))
            sizes[fold_of_host[host]] += members[host]
    return np.array([fold_of_host[str(band.host)] for band in named], dtype=int)


def deal_folds(bands: Sequence[Band], split: str, folds: int, seed: int) -> np.ndarray:
    """Fold number of each band, by ``hosts`` (:func:`host_folds`) or by ``paths``.

    Dealt by paths, a host may stand on both sides: what a model knows of a new path in a host
    that it has seen.

    Raises
    ------
    BadInput
        When the split is neither.
    """
    if split == "hosts":
        return host_folds(bands, folds, seed)
    if split != "paths":
        raise BadInput(f"split: {split!r} is neither hosts nor paths")
    return np.random.default_rng(seed).permutation(len(bands)) % folds


def learning_subset(fold_of: np.ndarray, fold: int, records: int | None, seed: int) -> np.ndarray:
    """Indices of a fold's training part, or of ``records`` of them for a learning curve.

    Subsets of one seed lie in each other: those of 100 are among those of 200.

    Raises
    ------
    BadInput
        When the training part has fewer bands.
    """
    inside = np.flatnonzero(fold_of != fold)
    if records is None:
        return inside
    if not 0 < records <= len(inside):
        raise BadInput(f"records: {records} asked, fold {fold} trains on {len(inside)} bands")
    return np.sort(np.random.default_rng([seed, fold]).permutation(inside)[:records])


def _band(record: dict[str, Any], where: str, need_barrier: bool) -> Band:
    if not isinstance(record.get("working_ion"), str):
        raise BadInput(f"{where}: working_ion: missing; this record is not a band")
    lattice, species, frac_coords = structure(record, where)
    sites = maybe_json(record.get("band_sites", [0, 1, 2, 3, 4]))
    if (
        not isinstance(sites, list)
        or len(sites) < 2
        or len(set(map(str, sites))) != len(sites)
        or not all(type(s) is int and 0 <= s < len(species) for s in sites)
    ):
        raise BadInput(
            f"{where}: band_sites: need at least two different site indices below "
            f"{len(species)}, initial to final"
        )
    if len(sites) == len(species):
        raise BadInput(f"{where}: species: nothing but the band's sites; the host is missing")
    on_path = {species[s] for s in sites}
    ion = record.get("working_ion")
    if len(on_path) != 1 or ion not in on_path:
        raise BadInput(
            f"{where}: band_sites: hold {', '.join(sorted(on_path))} where working_ion is "
            f"{ion!r}; every site of the path must be the working ion"
        )
    steps = np.diff(frac_coords[sites], axis=0) @ lattice
    if np.linalg.norm(steps, axis=1).min() < 1e-3:
        raise BadInput(f"{where}: frac_coords: two neighbouring sites of the band coincide")
    barrier: float | None = None
    if record.get("barrier_ev") is not None:
        barrier = number(record, "barrier_ev", where)
    elif need_barrier:
        raise BadInput(f"{where}: barrier_ev: missing; training and evaluation need it, in eV")
    weight = number(record, "weight", where) if "weight" in record else 1.0
    if weight < 0:
        raise BadInput(f"{where}: weight: {weight} is negative")
    return Band(
        id=str(record.get("id", where.rpartition(":")[2])),
        working_ion=str(ion),
        lattice=lattice,
        species=species,
        frac_coords=frac_coords,
        band_sites=tuple(sites),
        barrier_ev=barrier,
        host=None if record.get("host") is None else str(record["host"]),
        system=str(record.get("system", "")),
        structure_class=str(record.get("structure_class", "")),
        weight=weight,
    )


def require_barriers(bands: Iterable[Band]) -> np.ndarray:
    """Barriers of the bands as an array in eV; BadInput names the first without one."""
    values = []
    for band in bands:
        if band.barrier_ev is None:
            raise BadInput(f"band {band.id}: barrier_ev: missing; needed here, in eV")
        values.append(band.barrier_ev)
    return np.array(values, dtype=float)
