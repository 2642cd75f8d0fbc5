"""Oxidation states from a formula: do they balance, and which metals hold electrons to give.

The answer is that of ``Composition.oxi_state_guesses`` of pymatgen (the balanced assignment that
is most frequent in the ICSD), found by dynamic programming over charges. pymatgen enumerates
combinations, which takes minutes for formulas such as Li20Si3P3S23Cl.
"""

from __future__ import annotations

from functools import cache, lru_cache

from pymatgen.core import Composition, Element, Species

ION_CHARGES = {"Li": 1, "Na": 1, "K": 1, "Rb": 1, "Mg": 2, "Ca": 2, "Sr": 2, "Zn": 2, "Al": 3}
"""Charge of each working ion."""

REDOX_METALS: dict[str, int] = {
    "Ti": 4, "V": 5, "Cr": 6, "Mn": 7, "Fe": 6, "Co": 4, "Ni": 4, "Cu": 3,
    "Nb": 5, "Mo": 6, "Ru": 6, "Rh": 4, "Pd": 4, "Ag": 3,
    "Ta": 5, "W": 6, "Re": 7, "Os": 6, "Ir": 5, "Pt": 4, "Au": 3,
    "Ce": 4, "Eu": 3, "Sn": 4, "Sb": 5, "Bi": 5,
}  # fmt: skip
"""Metals that change valence in a battery, with the highest state they reach in solids."""


@lru_cache(maxsize=100_000)
def oxidation_states(formula: str, working_ion: str) -> dict[str, float] | None:
    """Return the most usual average oxidation states that balance, or None.

    Parameters
    ----------
    formula
        With integer amounts.
    working_ion
        Counted at its own charge; other elements take states seen in the ICSD, mixed valence
        included.

    Returns
    -------
    dict or None
        Average state by element symbol; None if nothing balances.
    """
    amounts = Composition(formula).get_el_amt_dict()
    # charge so far → (frequency, state sum of each element so far)
    best: dict[int, tuple[float, dict[str, int]]] = {0: (0.0, {})}
    for symbol, amount in amounts.items():
        states = (ION_CHARGES[symbol],) if symbol == working_ion else _usual_states(symbol)
        longer: dict[int, tuple[float, dict[str, int]]] = {}
        for charge, (frequency, chosen) in best.items():
            for added, more in _sums(symbol, states, round(amount)).items():
                total = frequency + more
                if total > longer.get(charge + added, (-1.0, {}))[0]:
                    longer[charge + added] = (total, {**chosen, symbol: added})
        best = longer
    if 0 not in best:
        return None
    return {symbol: total / amounts[symbol] for symbol, total in best[0][1].items()}


def redox_active_metals(formula: str, working_ion: str) -> list[str]:
    """Return the metals of a compound that hold electrons to give, sorted.

    A metal in its highest state (Ti4+, Nb5+, Ta5+) holds none: its compounds insulate.
    """
    states = oxidation_states(formula, working_ion) or {}
    return sorted(
        symbol
        for symbol in Composition(formula).get_el_amt_dict()
        if symbol != working_ion
        and states.get(symbol, 0.0) < REDOX_METALS.get(symbol, float("-inf"))
    )


def _usual_states(symbol: str) -> tuple[int, ...]:
    element = Element(symbol)
    return tuple(element.icsd_oxidation_states or element.common_oxidation_states)


@lru_cache(maxsize=10_000)
def _sums(symbol: str, states: tuple[int, ...], amount: int) -> dict[int, float]:
    """Return the charges that some atoms of one element can have, with their frequencies."""
    sums = {0: 0.0}
    for _ in range(amount):
        longer: dict[int, float] = {}
        for charge, frequency in sums.items():
            for state in states:
                total = frequency + _frequency(symbol, state)
                if total > longer.get(charge + state, -1.0):
                    longer[charge + state] = total
        sums = longer
    return sums


@cache
def _frequency(symbol: str, state: int) -> float:
    """Return how often the ICSD has an element in a state, as pymatgen counts."""
    if Composition.oxi_prob is None:
        Composition("LiF").oxi_state_guesses()  # pymatgen loads its table at the first guess
    return float((Composition.oxi_prob or {}).get(Species(symbol, state), 0.0))
