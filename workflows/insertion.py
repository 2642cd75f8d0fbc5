"""Sites for the working ion in a host that holds none: a charged electrode.

The sites come from the user; from a *twin*, a host of the same framework that does hold the ion,
as the discharged electrode does; or from the bond valences of the empty framework
(:mod:`workflows.bond_valence`). In any case they are completed and averaged by the symmetry of the
empty framework, so that hops can be told apart by symmetry. The host goes on with all its sites
filled; its hops are computed in ``dilute`` mode, with one ion in the empty framework.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import spglib
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Composition, Element, Lattice, Structure

from workflows.bond_valence import valence_sites
from workflows.filters import Refused
from workflows.hosts import SYMPREC_ANG, PackedHost, pack, spglib_call, unpack

SAME_SITE_ANG = 1.0
"""Images of a site nearer to each other than this are one site, at their mean: two ions never sit
so close, and a twin's framework differs from the host's by less."""

FRAMEWORK_ANG = 1.3
"""Least distance of a site from the framework: no ion fits nearer to an anion."""

VOLUME_CHANGE = 0.25
"""Relative change of volume on insertion up to which two frameworks are twins."""

ROUGHLY_ANG = (0.1, 0.3)
"""Tolerances at which a distorted twin is looked at, if it has more atoms than the host."""

Site = tuple[float, float, float]


class InsertionOptions(BaseModel):
    """The ``insertion`` section: where hosts without the working ion get its sites."""

    model_config = ConfigDict(extra="forbid")

    twins: bool = Field(
        True, description="from a host of the same framework, in this screen or its store"
    )
    bond_valence: bool = Field(
        False, description="without a twin, where the ion's bond-valence sum is near its charge"
    )
    sites: dict[str, list[Site]] = Field(
        default_factory=dict,
        description="material id or file name → fractional coordinates in the cell as given",
    )

    @model_validator(mode="after")
    def _asks_for_something(self) -> InsertionOptions:
        if not self.twins and not self.bond_valence and not self.sites:
            raise ValueError("gives no sites: set twins or bond_valence to true, or name sites")
        for name, sites in self.sites.items():
            if not sites or not np.isfinite(np.array(sites)).all():
                raise ValueError(f"sites of {name}: give at least one [x, y, z]")
        return self


@dataclass(frozen=True)
class Filled:
    """A host with its sites filled.

    Attributes
    ----------
    structure
        All sites hold an ion.
    origin
        Where the sites come from, as the candidate's document keeps it.
    formula
        By which filters judge charges; empty: that of ``structure``.
    """

    structure: Structure
    origin: dict[str, Any]
    formula: str = ""


def is_empty(structure: Structure | None, working_ion: str) -> bool:
    """Say whether a structure lacks the working ion."""
    if structure is None:
        return False
    return Element(working_ion) not in structure.composition.element_composition


def fill_given(empty: Structure, working_ion: str, sites: Iterable[Site]) -> Filled:
    """Fill a host at the user's sites and all that symmetry makes of them.

    Raises
    ------
    Refused
        A site lies within an atom, or the host is disordered.
    """
    given = [list(site) for site in sites]
    return Filled(
        _filled(empty, working_ion, np.array(given, dtype=float)),
        {"method": "given", "sites": given},
    )


def fill_by_bond_valence(empty: Structure, working_ion: str) -> Filled:
    """Fill a host where the ion's bond-valence sum is near its charge.

    More sites may be found than a discharged host fills, for example octahedral beside
    tetrahedral ones: an ion in the empty framework may visit them all. Charges are judged with
    one ion in the primitive cell.

    Raises
    ------
    Refused
        No place fits, or the host is disordered.
    """
    if not empty.is_ordered:
        raise Refused("insertion", "has partly occupied sites; give an ordered cell")
    host = _primitive(empty)
    sites = valence_sites(host, working_ion)
    if not sites:
        raise Refused(
            "insertion",
            f"has no {working_ion}, and no place where its bond-valence sum is near its charge; "
            "give insertion.sites",
        )
    filled = _filled(host, working_ion, np.array([site.frac_coords for site in sites]))
    with_one = host.composition.element_composition + Composition({working_ion: 1})
    return Filled(
        filled,
        {
            "method": "bond_valence",
            "valences": sorted({round(site.valence, 2) for site in sites}),
            "largest_mismatch": round(max(site.mismatch for site in sites), 3),
        },
        formula=with_one.formula.replace(" ", ""),
    )


class Twins:
    """Hosts that hold the working ion, to be asked for the sites of those that do not."""

    def __init__(self, working_ion: str) -> None:
        self._ion = working_ion
        self._hosts: dict[str, dict[str, PackedHost]] = {}

    def remember(self, material_id: str, host: Structure) -> None:
        """Remember a host that holds the ion; the same one twice is one."""
        formula = framework_formula(host.composition.reduced_formula, self._ion)
        self._hosts.setdefault(formula, {})[material_id] = pack(host)

    def fill(self, empty: Structure) -> Filled:
        """Fill a host at the sites of its nearest twin.

        pymatgen's ``StructureMatcher`` [1]_ maps the twin's framework onto the host's; the twin
        with the least root mean square distance gives its sites.

        Raises
        ------
        Refused
            There is no twin, or no site is left for the ion.

        References
        ----------
        .. [1] S. P. Ong et al., Comput. Mater. Sci. 68, 314 (2013).
        """
        if not empty.is_ordered:
            raise Refused("insertion", "has partly occupied sites; give an ordered cell")
        host = _primitive(empty)
        best: tuple[float, str, np.ndarray] | None = None
        same = self._hosts.get(empty.composition.element_composition.reduced_formula, {})
        for material_id, packed in sorted(same.items(), key=lambda entry: entry[0]):
            found = sites_of_twin(host, unpack(packed), self._ion)
            if found is not None and (best is None or found[0] < best[0] - 1e-6):
                best = found[0], material_id, found[1]
        if best is None:
            raise Refused(
                "insertion",
                f"has no {self._ion}, and no host with {self._ion} has its framework; add one, set "
                "insertion.bond_valence: true, or give insertion.sites",
            )
        rms_ang, material_id, sites = best
        return Filled(
            _filled(host, self._ion, sites),
            {"method": "twin", "twin": material_id, "rms_ang": round(rms_ang, 4)},
        )


def framework_formula(formula: str, working_ion: str) -> str:
    """Return the reduced formula of a compound without the working ion: twins share it."""
    amounts = Composition(formula).get_el_amt_dict()
    rest = {symbol: n for symbol, n in amounts.items() if symbol != working_ion}
    return str(Composition(rest).reduced_formula) if rest else ""


def sites_of_twin(
    host: Structure, twin: Structure, working_ion: str
) -> tuple[float, np.ndarray] | None:
    """Map the ion's sites of a twin into a host.

    Parameters
    ----------
    host
        Primitive cell without the ion.
    twin
        Any cell of a structure with the ion.
    working_ion
        Element symbol.

    Returns
    -------
    tuple or None
        Root mean square distance of the frameworks in Å, after scaling to equal volumes, and
        the sites as fractional coordinates of ``host``, shape (n, 3). None if the frameworks
        are not the same.
    """
    framework = twin.copy()
    framework.remove_species([working_ion])
    if not len(framework) or not framework.is_ordered:
        return None
    # An ordering of the ions distorts the framework, which is then primitive only roughly.
    for symprec_ang in (SYMPREC_ANG, *ROUGHLY_ANG):
        cell = _primitive(framework, symprec_ang)
        if len(cell) == len(host):
            break
    if len(cell) != len(host) or abs(cell.volume / host.volume - 1) > VOLUME_CHANGE:
        return None
    # The ions lie at the same places in space; several of them may fold onto one site.
    ions = [site.coords for site in twin if site.specie.symbol == working_ion]
    folded = _merged(cell.lattice.get_fractional_coords(np.array(ions)), cell.lattice)
    full = cell.copy()
    for site in folded:
        full.append(working_ion, site)
    matcher = StructureMatcher(
        primitive_cell=False, attempt_supercell=False, scale=True, ignored_species=[working_ion]
    )
    distance = matcher.get_rms_dist(host, full)
    if distance is None:
        return None
    mapped = matcher.get_s2_like_s1(host, full)
    if mapped is None:
        return None
    sites = np.array([s.frac_coords for s in mapped if s.specie.symbol == working_ion])
    # The matcher gives its distance in units of the length per atom.
    return float(distance[0]) * (host.volume / len(host)) ** (1 / 3), sites % 1.0


def symmetric_sites(host: Structure, sites: np.ndarray) -> np.ndarray:
    """Complete sites to whole orbits of the host's space group, and move them to their mean.

    A site that comes near to its own image lies on the symmetry element between the two.

    Parameters
    ----------
    host
        The empty framework.
    sites
        Fractional coordinates, shape (n, 3).

    Returns
    -------
    ndarray, shape (m, 3)
        In [0, 1), each site once, m >= n unless sites are the same by symmetry.
    """
    numbers = [site.specie.Z for site in host]
    cell = (host.lattice.matrix, host.frac_coords, numbers)
    found = spglib_call(spglib.get_symmetry, cell, symprec=SYMPREC_ANG)
    rotations, translations = found["rotations"], found["translations"]
    done = np.empty((0, 3))
    for site in np.asarray(sites, dtype=float):
        if len(done) and host.lattice.get_all_distances(site, done).min() < SAME_SITE_ANG:
            continue
        # Twice: from the mean of some images, others come within reach.
        for _ in range(2):
            images = rotations @ site + translations
            away = images - site
            away -= np.round(away)
            near = np.linalg.norm(away @ host.lattice.matrix, axis=1) < SAME_SITE_ANG
            site = site + away[near].mean(axis=0)
        done = np.vstack([done, _merged(rotations @ site + translations, host.lattice)])
    return done % 1.0


def _filled(empty: Structure, working_ion: str, sites: np.ndarray) -> Structure:
    if not empty.is_ordered:
        raise Refused("insertion", "has partly occupied sites; give an ordered cell")
    places = symmetric_sites(empty, sites)
    nearest = empty.lattice.get_all_distances(places, empty.frac_coords).min(axis=1)
    if (nearest < FRAMEWORK_ANG).any():
        raise Refused(
            "insertion",
            f"a site for {working_ion} lies {nearest.min():.2f} Å from an atom, nearer than "
            f"{FRAMEWORK_ANG:g} Å; check insertion.sites or the twin",
        )
    filled = empty.copy()
    filled.remove_oxidation_states()
    for place in places:
        filled.append(working_ion, place)
    return filled


def _merged(coords: np.ndarray, lattice: Lattice) -> np.ndarray:
    """Return coordinates (n, 3) of which no two are one site."""
    kept: list[np.ndarray] = []
    for place in coords % 1.0:
        if not kept or lattice.get_all_distances(place, np.array(kept)).min() >= SAME_SITE_ANG:
            kept.append(place)
    return np.array(kept)


def _primitive(structure: Structure, symprec_ang: float = SYMPREC_ANG) -> Structure:
    """Return the primitive cell where it is: neither turned nor moved."""
    plain = structure.copy()
    plain.remove_oxidation_states()
    cell = (
        plain.lattice.matrix,
        plain.frac_coords,
        [site.specie.Z for site in plain],
    )
    lattice, coords, numbers = spglib_call(
        spglib.standardize_cell, cell, to_primitive=True, no_idealize=True, symprec=symprec_ang
    )
    return Structure(Lattice(lattice), [Element.from_Z(int(z)) for z in numbers], coords)
