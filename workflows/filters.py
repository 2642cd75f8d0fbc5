"""Fitness filters: which hosts are worth a screen, and why the others are not.

Each filter is one small function that takes a host, or its formula, and raises :class:`Refused`
with its name and a reason. :data:`FILTERS` and :data:`CHARGE_FILTERS` list them in the order in
which they are asked.
What needs a memory of other hosts is in :mod:`workflows.duplicates`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pymatgen.core import Element, Structure

from workflows.oxidation import oxidation_states, redox_active_metals

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


OCCUPANCY_TOLERANCE = 0.05
"""Atoms by which a rounded occupancy may differ from the refined one, in a whole orbit."""


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
    keep_duplicates: bool = Field(False, description="keep hosts that are the same crystal")

    @field_validator("allow_elements")
    @classmethod
    def _are_elements(cls, value: list[str]) -> list[str]:
        for symbol in value:
            if not Element.is_valid_symbol(symbol):
                raise ValueError(f"'{symbol}' is no element symbol")
        return value


Filter = Callable[[Structure, str, FilterOptions], None]
ChargeFilter = Callable[[str, str, FilterOptions], None]


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


def charge_balance(formula: str, working_ion: str, options: FilterOptions) -> None:
    """Refuse hosts whose elements' usual oxidation states cannot sum to zero."""
    if options.charge_balance and oxidation_states(formula, working_ion) is None:
        raise Refused("charge_balance", f"no usual oxidation states balance {formula}")


def redox_mode(formula: str, working_ion: str, options: FilterOptions) -> None:
    """Ask for, or refuse, a metal that can change its valence.

    See :func:`workflows.oxidation.redox_active_metals`.
    """
    if options.mode == "any":
        return
    active = redox_active_metals(formula, working_ion)
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


FILTERS: tuple[Filter, ...] = (working_ion_content, excluded_elements, disorder, size)

CHARGE_FILTERS: tuple[ChargeFilter, ...] = (charge_balance, redox_mode)
"""Asked last; they look at the formula alone."""


def apply_filters(
    host: Structure, working_ion: str, options: FilterOptions, formula: str = ""
) -> Structure:
    """Return the host, ordered if it was disordered and that was asked for.

    Parameters
    ----------
    host
        As its source gives it.
    working_ion
        Element symbol of the mobile ion.
    options
        The ``filters`` section of the screening file.
    formula
        By which charges are judged; left out: the host's.

    Raises
    ------
    Refused
        By the first filter that it does not pass.
    """
    if options.disorder == "ewald" and not host.is_ordered:
        host = order_by_ewald(host, working_ion)
    for passes in FILTERS:
        passes(host, working_ion, options)
    for agrees in CHARGE_FILTERS:
        agrees(formula or _formula(host), working_ion, options)
    return host


def order_by_ewald(host: Structure, working_ion: str) -> Structure:
    """Return the ordering of a partly occupied cell with a low electrostatic energy.

    Point charges at the usual oxidation states; sites are emptied or assigned one at a time,
    each time the one that lowers the Ewald energy most (pymatgen's
    ``OrderDisorderedStructureTransformation``, best first), so that the result is deterministic.

    Raises
    ------
    Refused
        The charges do not balance, or the cell is too small to hold whole atoms.
    """
    # Seconds to import, and few screens need it.
    from pymatgen.transformations.standard_transformations import (
        OrderDisorderedStructureTransformation,
    )

    formula, _ = host.composition.element_composition.get_integer_formula_and_factor()
    states = oxidation_states(formula, working_ion)
    if states is None:
        raise Refused("disorder", f"cannot be ordered: no oxidation states balance {formula}")
    charged = host.copy()
    charged.remove_oxidation_states()
    charged.add_oxidation_state_by_element(states)
    rule = OrderDisorderedStructureTransformation(
        algo=OrderDisorderedStructureTransformation.ALGO_BEST_FIRST, occ_tol=OCCUPANCY_TOLERANCE
    )
    try:
        ordered: Any = rule.apply_transformation(charged)
    except ValueError:
        raise Refused(
            "disorder", "its occupancies are no whole atoms in the given cell; give a supercell"
        ) from None
    ordered.remove_oxidation_states()
    return cast("Structure", ordered)


def _formula(host: Structure) -> str:
    return str(host.composition.element_composition.reduced_formula)
