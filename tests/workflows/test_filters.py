import pytest
from pydantic import ValidationError
from pymatgen.core import Composition, Element, Lattice, Structure

from workflows.duplicates import Duplicates
from workflows.filters import (
    EXCLUDED_ELEMENTS,
    FilterOptions,
    Refused,
    apply_filters,
    order_by_ewald,
)
from workflows.hosts import prepare_host, structure_hash
from workflows.oxidation import ION_CHARGES, oxidation_states, redox_active_metals
from workflows.sources import load_catalogue
from workflows.sources.catalogue import catalogue_entries

HOSTS = {record.material_id: record for record in load_catalogue()}
IONS = {entry["id"]: entry["working_ion"] for entry in catalogue_entries()}


def refusal(host, ion="Li", **options):
    """Name the filter that refuses a host, or None."""
    try:
        apply_filters(host, ion, FilterOptions(**options))
    except Refused as refused:
        return refused.rejected_by
    return None


def rocksalt(cation, anion):
    host = HOSTS["LiF"].structure.copy()
    host.replace_species({"Li": cation, "F": anion})
    return host


@pytest.mark.parametrize("material_id", list(HOSTS))
def test_the_catalogue_passes_the_defaults(material_id):
    assert refusal(HOSTS[material_id].structure, IONS[material_id]) is None


def test_working_ion_content():
    host = HOSTS["LiFePO4"].structure
    assert refusal(host, "Na") == "working_ion_content"
    assert refusal(host, "Li", min_ion_fraction=0.2) == "working_ion_content"
    assert refusal(host, "Li", min_ion_fraction=1 / 7 - 1e-9) is None
    metal = Structure.from_spacegroup("Im-3m", Lattice.cubic(3.5), ["Li"], [[0, 0, 0]])
    assert refusal(metal) == "working_ion_content"


def test_hazardous_elements_are_out_unless_allowed():
    host = Structure.from_spacegroup(
        "Pm-3m",
        Lattice.cubic(4.0),
        ["K", "Pb", "F"],
        [[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0, 0]],
    )
    assert refusal(host, "K") == "excluded_elements"
    assert refusal(host, "K", allow_elements=["Pb"]) is None
    assert {"Hg", "Tl", "U", "Tc", "Pm", "Ra"} <= set(EXCLUDED_ELEMENTS)
    assert not {"Bi", "La", "P", "S", "F"} & set(EXCLUDED_ELEMENTS)


def test_size_is_that_of_the_primitive_cell():
    host = HOSTS["LiFePO4"].structure
    assert refusal(host * (2, 1, 1), max_sites=28) is None
    assert refusal(host, max_sites=27) == "size"


def test_charges_that_cannot_balance():
    assert refusal(rocksalt("Li", "O")) == "charge_balance"
    assert refusal(rocksalt("Li", "O"), charge_balance=False) is None


@pytest.mark.parametrize(
    ("material_id", "mode", "refused"),
    [
        ("LiFePO4", "electrode", None),
        ("LiFePO4", "electrolyte", "redox_mode"),
        ("LiTi2P3O12", "electrolyte", None),
        ("LiTi2P3O12", "electrode", "redox_mode"),
        ("LiTi2O4", "electrode", None),
        ("Li7La3Zr2O12-t", "electrolyte", None),
        ("Li3N", "electrode", "redox_mode"),
        ("LiNbO3", "electrolyte", None),
        ("NaV2O5", "electrolyte", "redox_mode"),
    ],
)
def test_electrode_and_electrolyte(material_id, mode, refused):
    assert refusal(HOSTS[material_id].structure, IONS[material_id], mode=mode) == refused


def test_oxidation_states_are_those_of_pymatgen():
    for entry in catalogue_entries():
        ion, composition = entry["working_ion"], Composition(entry["formula"])
        if composition.num_atoms > 12:
            continue
        guesses = composition.oxi_state_guesses(oxi_states_override={ion: [ION_CHARGES[ion]]})
        assert oxidation_states(composition.reduced_formula, ion) == pytest.approx(guesses[0])


def test_oxidation_states_of_a_formula_that_enumeration_cannot_do():
    assert oxidation_states("Li20Si3P3S23Cl", "Li") == {
        "Li": 1, "Si": 4, "P": 5, "S": -2, "Cl": -1,
    }  # fmt: skip
    assert oxidation_states("LiMn2O4", "Li")["Mn"] == 3.5
    assert oxidation_states("LiO", "Li") is None
    assert redox_active_metals("LiFeTiO4", "Li") == ["Fe"]


def test_disorder_is_refused_by_default():
    assert refusal(rocksalt({"Li": 0.5, "Na": 0.5}, "Cl")) == "disorder"


def test_disorder_is_ordered_on_request():
    host = rocksalt({"Li": 0.5, "Na": 0.5}, "Cl")
    ordered = apply_filters(host, "Li", FilterOptions(disorder="ewald"))
    assert ordered.is_ordered
    assert ordered.composition == host.composition.element_composition
    assert all(isinstance(site.specie, Element) for site in ordered)
    assert ordered == apply_filters(host, "Li", FilterOptions(disorder="ewald"))


def test_vacancies_are_ordered_apart():
    """Half-filled Li layers: the two ions of the cell keep away from each other."""
    host = Structure.from_spacegroup(
        "Pm-3m",
        Lattice.cubic(4.0),
        [{"Li": 0.5}, "Nb", "O"],
        [[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0, 0]],
    ) * (2, 2, 1)
    host.replace_species({"Nb": {"Nb": 0.5, "W": 0.5}})  # Li0.5 Nb0.5 W0.5 O3
    ordered = order_by_ewald(host, "Li")
    assert ordered.composition["Li"] == 2
    first, second = (site for site in ordered if site.specie.symbol == "Li")
    assert first.distance(second) == pytest.approx(4.0 * 2**0.5)


def test_occupancies_that_are_no_whole_atoms():
    assert refusal(rocksalt({"Li": 0.6, "Na": 0.4}, "Cl"), disorder="ewald") == "disorder"


def add(duplicates, material_id, structure, ion="Li"):
    host = prepare_host(structure, ion)
    duplicates.add(material_id, host, structure_hash(host))


def test_the_same_crystal_is_found_in_any_description():
    duplicates = Duplicates()
    original = HOSTS["LiFePO4"].structure
    add(duplicates, "first", original)
    shifted = original.copy()
    shifted.translate_sites(range(len(shifted)), [0.1, 0.2, 0.3])
    with pytest.raises(Refused, match="same crystal as first"):
        add(duplicates, "shifted", shifted * (1, 2, 1))
    relaxed = original.copy().perturb(0.02)
    relaxed.apply_strain([0.01, 0.012, 0.008])
    with pytest.raises(Refused, match="same crystal as first"):
        add(duplicates, "relaxed", relaxed)


def test_other_crystals_of_one_formula_are_kept():
    duplicates = Duplicates()
    for name in ("LiAlO2-alpha", "LiAlO2-gamma", "Li3PO4-beta", "Li3PO4-gamma"):
        add(duplicates, name, HOSTS[name].structure)
    swollen = HOSTS["LiAlO2-alpha"].structure.copy()
    swollen.apply_strain(0.05)
    add(duplicates, "another volume", swollen)


@pytest.mark.parametrize(
    "given",
    [{"disorder": "guess"}, {"min_ion_fraction": 1.5}, {"allow_elements": ["Zz"]}, {"sise": 3}],
)
def test_impossible_options(given):
    with pytest.raises(ValidationError):
        FilterOptions(**given)
