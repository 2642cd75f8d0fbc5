"""What the elements of a material cost, and how hazardous they are: coarse, for a Pareto view.

Neither is a property of the compound. A price is that of the elements that go in, without
synthesis, and moves by factors within years (lithium tenfold and back since 2020): read it as an
order of magnitude. A hazard is the worst that the law says of the element or of its usual
inorganic compounds, not of this one.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from pymatgen.core import Composition, Element

USD_PER_KG: dict[str, float] = {
    "H": 1.4, "Li": 81, "Be": 860, "B": 3.7, "C": 0.12, "N": 0.14, "O": 0.15, "F": 1.8,
    "Na": 2.6, "Mg": 2.3, "Al": 1.8, "Si": 1.7, "P": 2.7, "S": 0.093, "Cl": 0.082, "K": 12,
    "Ca": 2.2, "Sc": 3500, "Ti": 11, "V": 360, "Cr": 9.4, "Mn": 1.8, "Fe": 0.42, "Co": 33,
    "Ni": 14, "Cu": 6.0, "Zn": 2.6, "Ga": 150, "Ge": 910, "As": 1.0, "Se": 21, "Br": 4.4,
    "Rb": 16000, "Sr": 6.5, "Y": 31, "Zr": 36, "Nb": 61, "Mo": 40, "Ru": 10000, "Rh": 150000,
    "Pd": 50000, "Ag": 520, "Cd": 2.7, "In": 170, "Sn": 19, "Sb": 5.8, "Te": 64, "I": 35,
    "Cs": 62000, "Ba": 0.25, "La": 4.8, "Ce": 4.6, "Pr": 100, "Nd": 58, "Sm": 14, "Eu": 31,
    "Gd": 29, "Tb": 660, "Dy": 310, "Ho": 57, "Er": 26, "Tm": 3000, "Yb": 17, "Lu": 640,
    "Hf": 900, "Ta": 300, "W": 35, "Re": 3000, "Os": 12000, "Ir": 56000, "Pt": 28000,
    "Au": 45000, "Hg": 30, "Tl": 4200, "Pb": 2.0, "Bi": 6.4,
}  # fmt: skip
"""Price of the element as traded, mostly of 2017 to 2020, two digits.

Source: Wikipedia, "Prices of chemical elements" (revision 1262554464), the lower end where it
gives a range; the same figures are ``price_per_kg`` of the package mendeleev. Elements without a
stable isotope have no price here.
"""

HAZARD: dict[str, int] = {
    **dict.fromkeys(("V", "Se", "Sb", "Ba", "Os"), 1),
    **dict.fromkeys(("Be", "B", "As", "Co", "Ni", "Te", "Tl"), 2),
    **dict.fromkeys(("Cr", "Cd", "Hg", "Pb"), 3),
    **{e.symbol: 3 for e in Element if e.symbol in ("Tc", "Pm") or e.Z >= 84},
}
"""Grade of an element; 0 where it is not named.

1. Compounds are classed as toxic or harmful (V2O5, those of Se and Sb, barium salts, OsO4):
   harmonised classification, Annex VI of Regulation (EC) 1272/2008 (CLP).
2. The element or usual compounds (borates, NiO, cobalt, TeO2, …) are classed as carcinogenic or
   toxic for reproduction, category 1A or 1B, or as fatal (thallium): the same annex.
3. Restricted in electrical and electronic equipment (Annex II of Directive 2011/65/EU, RoHS; of
   chromium only Cr(VI)), or without a stable isotope.
"""


def elements(formula: str) -> list[str]:
    """Return the symbols of a formula's elements, sorted; none where it is no formula."""
    return sorted(_amounts(formula))


def cost_usd_per_kg(formula: str) -> float | None:
    """Return the price of the elements in one kilogram of a material, in USD.

    None where an element has no price.
    """
    amounts = _amounts(formula)
    if not amounts or any(symbol not in USD_PER_KG for symbol in amounts):
        return None
    masses = {symbol: n * float(Element(symbol).atomic_mass) for symbol, n in amounts.items()}
    total = sum(masses.values())
    return sum(USD_PER_KG[symbol] * mass for symbol, mass in masses.items()) / total


def hazard(symbols: Iterable[str]) -> int | None:
    """Return the worst grade of some elements, None of none."""
    return max((HAZARD.get(symbol, 0) for symbol in symbols), default=None)


@lru_cache(maxsize=100_000)
def _amounts(formula: str) -> dict[str, float]:
    try:
        amounts = Composition(formula).element_composition.get_el_amt_dict()
    except (ValueError, KeyError):
        return {}
    return {symbol: float(n) for symbol, n in amounts.items() if Element.is_valid_symbol(symbol)}
