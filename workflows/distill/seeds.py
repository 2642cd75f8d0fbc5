"""Structures that the teacher labels: band images, hosts with a hopping vacancy, bulk crystals.

Everything is seeded and sorted, so the same files give the same structures on every machine.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.formula import Formula
from pymatgen.core import Composition

from workflows.sources.catalogue import load_catalogue

WORKING_IONS = ("Li", "Na", "K", "Mg", "Ca", "Zn", "Al")

UNKNOWN = {
    atomic_numbers[symbol]
    for symbol in Formula("HeNeArKrXeHgTcPaAcThUNpPuTlCsBeAuPtOsReEuYb").count()
}
"""Elements that occur neither in the literature bands nor in the catalogue, left out so that
the model's capacity goes to battery chemistries."""


@dataclass(frozen=True)
class Seed:
    """A structure to label, the source it came from, and its host group."""

    atoms: Atoms
    source: str
    group: str


def host_group(symbols: list[str], working_ion: str | None) -> str:
    """Reduced formula of the framework: states of charge and guests of one host share it."""
    framework = [symbol for symbol in symbols if symbol != working_ion] or symbols
    return Composition({s: framework.count(s) for s in set(framework)}).reduced_formula


def is_held_out(group: str, share: float = 0.12) -> bool:
    """Whether a host group is kept from training, decided by its name alone."""
    digest = int.from_bytes(hashlib.sha256(group.encode()).digest()[:4], "big")
    return digest / 2**32 < share


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Records of a JSON-lines file, plain or gzipped."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as handle:
        for line in handle:
            yield json.loads(line)


def band_image(record: dict[str, Any], image: int) -> Atoms:
    """Image ``image`` (0 to 4) of a literature band: one migrating ion first, then the host."""
    sites = record["band_sites"]
    host = [i for i in range(len(record["species"])) if i not in sites]
    order = [sites[image], *host]
    return Atoms(
        symbols=[record["species"][i] for i in order],
        scaled_positions=np.array(record["frac_coords"])[order],
        cell=record["lattice"],
        pbc=True,
    )


def band_seeds(path: Path, rng: np.random.Generator, max_atoms: int = 130) -> Iterator[Seed]:
    """One end, the middle and one further image of every band of at most ``max_atoms``."""
    for record in read_jsonl(path):
        if len(record["species"]) > max_atoms:
            continue
        host = [s for i, s in enumerate(record["species"]) if i not in record["band_sites"]]
        group = host_group(host, record["working_ion"])
        for image in (int(rng.choice([0, 4])), 2, int(rng.choice([1, 3]))):
            yield Seed(rattled(band_image(record, image), rng), "band", group)


def bulk_seeds(path: Path, rng: np.random.Generator, max_atoms: int = 30) -> Iterator[Seed]:
    """Strained, rattled crystals; every second one with a hopping vacancy where it has an ion."""
    seen: set[tuple[str, int]] = set()
    for record in read_jsonl(path):
        key = (Composition("".join(record["species"])).formula, len(record["species"]))
        numbers = {atomic_numbers[symbol] for symbol in record["species"]}
        if len(record["species"]) > max_atoms or numbers & UNKNOWN or key in seen:
            continue
        seen.add(key)
        ions = [ion for ion in WORKING_IONS if ion in record["species"]]
        anions = {"O", "F", "S", "Se", "N", "Cl", "Br", "I", "P"} & set(record["species"])
        if not ions and rng.random() < 0.8:  # mostly what a battery could hold
            continue
        if not anions and rng.random() < 0.9:
            continue
        atoms = Atoms(
            symbols=record["species"],
            scaled_positions=record["frac_coords"],
            cell=record["lattice"],
            pbc=True,
        )
        ion = ions[0] if ions else None
        group = host_group(record["species"], ion)
        if ion and rng.random() < 0.5:
            atoms = hopping_vacancy(supercell(atoms, 5.0, 48), ion, rng)
        yield Seed(rattled(strained(atoms, rng), rng), "bulk", group)


def catalogue_seeds(rng: np.random.Generator, copies: int = 6) -> Iterator[Seed]:
    """Vacancy cells of the catalogue hosts with an ion at a random point of a short hop."""
    for ion in WORKING_IONS:
        for record in load_catalogue({ion}):
            assert record.structure is not None
            host = record.structure.to_ase_atoms()
            group = host_group(host.get_chemical_symbols(), ion)
            for _ in range(copies):
                cell = supercell(host, 6.5, 110)
                atoms = hopping_vacancy(cell, ion, rng) if rng.random() < 0.8 else cell
                yield Seed(rattled(strained(atoms, rng), rng), "catalogue", group)


def supercell(atoms: Atoms, min_height_ang: float, max_atoms: int) -> Atoms:
    """Repeat the thinnest direction until all heights suffice or the cell is full."""
    atoms = atoms.copy()
    while True:
        heights = 1 / np.linalg.norm(np.linalg.inv(atoms.cell[:]), axis=0)
        axis = int(np.argmin(heights))
        if heights[axis] >= min_height_ang or 2 * len(atoms) > max_atoms:
            return atoms
        atoms = atoms.repeat([2 if i == axis else 1 for i in range(3)])


def hopping_vacancy(atoms: Atoms, ion: str, rng: np.random.Generator) -> Atoms:
    """Remove one ion and move its nearest like towards the hole, 0 to 60 % of the way."""
    ions = [i for i, symbol in enumerate(atoms.get_chemical_symbols()) if symbol == ion]
    if len(ions) < 2:
        return atoms
    mover = int(rng.choice(ions))
    others = [i for i in ions if i != mover]
    vectors = atoms.get_distances(mover, others, mic=True, vector=True)
    lengths = np.linalg.norm(vectors, axis=1)
    # not always the very nearest: a second shell teaches the longer hops
    pick = int(rng.choice(np.flatnonzero(lengths <= lengths.min() + 0.8)))
    atoms = atoms.copy()
    atoms.positions[mover] += rng.choice([0.0, rng.uniform(0, 0.6), 0.5]) * vectors[pick]
    del atoms[others[pick]]
    return atoms


def strained(atoms: Atoms, rng: np.random.Generator, sigma: float = 0.015) -> Atoms:
    """Apply a small random symmetric strain."""
    strain = rng.normal(0, sigma, (3, 3))
    atoms = atoms.copy()
    atoms.set_cell(atoms.cell[:] @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
    return atoms


def rattled(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """Displace all atoms by Gaussian noise of a random small width."""
    atoms = atoms.copy()
    atoms.positions += rng.normal(0, rng.choice([0.0, 0.02, 0.05, 0.1]), (len(atoms), 3))
    return atoms
