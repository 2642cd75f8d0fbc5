"""Fitness filters: which hosts are worth a screen, and why the others are not.

Each filter is one small function that takes a host and raises :class:`Refused` with its name
and a reason. :data:`FILTERS` lists them in the order in which they are asked, cheapest first.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pymatgen.core import Composition, Element, Structure

ION_CHARGES = {"Li": 1, "Na": 1, "K": 1, "Rb": 1, "Mg": 2, "Ca": 2, "Sr": 2, "Zn": 2, "Al": 3}
"""Charge of each working ion."""

EXCLUDED_ELEMENTS: dict[str, str] = {
    **dict.fromkeys(("Be", "As", "Cd", "Hg", "Tl", "Pb"), "toxic"),
    **dict.fromkeys(("He", "Ne", "Ar", "Kr", "Xe"), "a noble gas"),
    **{
        element.symbol: "radioactive"
        for element in Element
        if element.Z >= 84 or element.symbol in ("Tc", "Pm")
    },
}
"""Elements refused unless ``allow_elements`` names them, each with the reason."""

REDOX_METALS: dict[str, int] = {
    "Ti": 4, "V": 5, "Cr": 6, "Mn": 7, "Fe": 6, "Co": 4, "Ni": 4, "Cu": 3,
    "Nb": 5, "Mo": 6, "Ru": 6, "Rh": 4, "Pd": 4, "Ag": 3,
    "Ta": 5, "W": 6, "Re": 7, "Os": 6, "Ir": 5, "Pt": 4, "Au": 3,
    "Ce": 4, "Eu": 3, "Sn": 4, "Sb": 5, "Bi": 5,
}  # fmt: skip
"""Metals that change valence in a battery, with the highest state they reach in solids."""


class Refused(Exception):
    """A host does not pass a filter.

    Attributes
    ----------
    rejected_by
        The filter's name, to count by.
    reason
        One line for people.
    """

    def __init__(self, rejected_by: str, reason: str) -> None:
        super().__init__(f"{rejected_by}: {reason}")
        self.rejected_by = rejected_by
        self.reason = reason


class FilterOptions(BaseModel):
    """The ``filters`` section of a screening file."""

    model_config = ConfigDict(extra="forbid")

    disorder: Literal["refuse", "ewald"] = Field(
        "refuse",
        description="partly occupied hosts: refuse them, or take the ordering of lowest "
        "electrostatic energy in the given cell",
    )
    min_ion_fraction: float = Field(
        0.0, ge=0, le=1, description="least share of the working ion among the atoms"
    )
    max_sites: int = Field(200, ge=1, description="largest primitive cell, in atoms")
    allow_elements: list[str] = Field(
        default_factory=list, description="toxic or radioactive elements to let pass"
    )
    charge_balance: bool = Field(
        True, description="refuse hosts whose usual oxidation states cannot balance"
    )
    mode: Literal["any", "electrode", "electrolyte"] = Field(
        "any",
        description="electrode: asks for a metal that changes valence; electrolyte: refuses it",
    )
    duplicates: bool = Field(False, description="keep hosts that are the same crystal")

    @field_validator("allow_elements")
    @classmethod
    def _are_elements(cls, value: list[str]) -> list[str]:
        for symbol in value:
            if not Element.is_valid_symbol(symbol):
                raise ValueError(f"'{symbol}' is no element symbol")
        return value


Filter = Callable[[Structure, str, FilterOptions], None]


def working_ion_content(host: Structure, working_ion: str, options: FilterOptions) -> None:
    """Refuse hosts without the working ion, of nothing else, or with too little of it."""
    fraction = host.composition.get_atomic_fraction(Element(working_ion))
    if fraction == 0:
        raise Refused("working_ion_content", f"has no {working_ion}")
    if len(host.composition.element_composition) == 1:
        raise Refused("working_ion_content", f"is pure {working_ion}")
    if fraction < options.min_ion_fraction:
        raise Refused(
            "working_ion_content",
            f"{fraction:.3g} of its atoms are {working_ion}, less than min_ion_fraction "
            f"{options.min_ion_fraction:g}",
        )


def excluded_elements(host: Structure, working_ion: str, options: FilterOptions) -> None:
    """Refuse toxic and radioactive elements that are not explicitly allowed."""
    for element in sorted(host.composition.element_composition, key=lambda e: e.symbol):
        reason = EXCLUDED_ELEMENTS.get(element.symbol)
        if reason and element.symbol not in options.allow_elements:
            raise Refused("excluded_elements", f"{element.symbol} is {reason}")


def size(host: Structure, working_ion: str, options: FilterOptions) -> None:
    """Refuse primitive cells that are too large to compute hops in."""
    if len(host) <= options.max_sites:
        return
    primitive = host.get_primitive_structure()
    if len(primitive) > options.max_sites:
        raise Refused(
            "size", f"{len(primitive)} atoms in the primitive cell, max_sites {options.max_sites}"
        )


def charge_balance(host: Structure, working_ion: str, options: FilterOptions) -> None:
    """Refuse hosts whose elements' usual oxidation states cannot sum to zero."""
    if options.charge_balance and oxidation_states(_formula(host), working_ion) is None:
        raise Refused("charge_balance", f"no usual oxidation states balance {_formula(host)}")


def redox_mode(host: Structure, working_ion: str, options: FilterOptions) -> None:
    """Ask for, or refuse, a metal that can change its valence.

    A metal in its highest state (Ti4+, Nb5+, Ta5+) holds no electron to give, so that its
    compounds insulate: it does not count.
    """
    if options.mode == "any":
        return
    active = redox_active_metals(_formula(host), working_ion)
    if options.mode == "electrode" and not active:
        raise Refused("redox_mode", "has no metal that can be oxidised, so is no electrode")
    if options.mode == "electrolyte" and active:
        raise Refused("redox_mode", f"{', '.join(active)} can be oxidised, so is no electrolyte")


def disorder(host: Structure, working_ion: str, options: FilterOptions) -> None:
    """Refuse partly occupied sites; :func:`apply_filters` orders them first where asked to."""
    if not host.is_ordered:
        raise Refused(
            "disorder", "has partly occupied sites; give an ordered cell or disorder: ewald"
        )


FILTERS: tuple[Filter, ...] = (
    working_ion_content,
    excluded_elements,
    disorder,
    size,
    charge_balance,
    redox_mode,
)


def apply_filters(host: Structure, working_ion: str, options: FilterOptions) -> Structure:
    """Return the host, ordered if it was disordered and that was asked for.

    Raises
    ------
    Refused
        By the first filter that it does not pass.
    """
    for passes in FILTERS:
        passes(host, working_ion, options)
    return host


@cache
def oxidation_states(formula: str, working_ion: str) -> dict[str, float] | None:
    """Return the most usual average oxidation states that balance, or None.

    By pymatgen's ICSD statistics, the working ion at its own charge.
    """
    composition = Composition(formula)
    guesses = composition.oxi_state_guesses(
        oxi_states_override={working_ion: [ION_CHARGES[working_ion]]}
    )
    return dict(guesses[0]) if guesses else None


def redox_active_metals(formula: str, working_ion: str) -> list[str]:
    """Return the metals of a compound that hold electrons to give, sorted."""
    metals = [e.symbol for e in Composition(formula).elements if e.symbol in REDOX_METALS]
    states = oxidation_states(formula, working_ion) or {}
    return sorted(
        metal
        for metal in metals
        if metal != working_ion and states.get(metal, 0.0) < REDOX_METALS[metal]
    )


def _formula(host: Structure) -> str:
    return str(host.composition.element_composition.reduced_formula)
