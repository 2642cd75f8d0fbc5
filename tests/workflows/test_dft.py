"""Presets of the DFT stage: found by name, charged rightly, affordable on the catalogue."""

from __future__ import annotations

import pytest
from pymatgen.core import Lattice, Structure

from stores.errors import BadInput
from workflows.bands import build_endpoints, supercell_size
from workflows.dft import PRESETS, closed_shell_elements, dft_preset
from workflows.hops import distinct_hops
from workflows.hosts import prepare_host


@pytest.fixture(scope="module")
def li2o() -> Structure:
    cell = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.619), ["Li", "O"], [[0.25, 0.25, 0.25], [0, 0, 0]]
    )
    return prepare_host(cell, "Li")


@pytest.mark.parametrize(
    ("engine", "name", "said"),
    [
        ("gpaw", "dmeo", "dft_neb.preset: 'dmeo' is no preset of gpaw; did you mean 'demo'?"),
        ("gpw", "demo", "dft_neb.engine: 'gpw' has no presets; did you mean 'gpaw'?"),
        ("gpaw", "zzz", "dft_neb.preset: 'zzz' is no preset of gpaw; allowed: demo, production"),
    ],
)
def test_unknown_preset_names_the_right_one(engine, name, said):
    with pytest.raises(BadInput) as error:
        dft_preset(engine, name)
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("ion", "charge"), [("Li", -1), ("K", -1), ("Mg", -2), ("Zn", -2), ("Al", -3)]
)
def test_vacancy_carries_the_charge_of_the_missing_ion(ion, charge):
    preset = dft_preset("gpaw", "demo")
    assert preset.charge_e(ion, "vacancy") == charge
    assert preset.charge_e(ion, "dilute") == 0


def test_charged_vacancy_cell_has_an_even_number_of_electrons(li2o):
    preset = dft_preset("gpaw", "demo")
    hop = distinct_hops(li2o, "Li").hops[0]
    initial, _ = build_endpoints(li2o, hop, preset.recipe)
    electrons = sum(site.specie.Z for site in initial) - preset.charge_e("Li", "vacancy")
    assert electrons % 2 == 0  # the formal ions: all shells closed, no hole in the valence band


def test_demo_cell_is_small_but_keeps_the_ion_from_its_images(li2o):
    recipe = dft_preset("gpaw", "demo").recipe
    hop = distinct_hops(li2o, "Li").hops[0]
    initial, final = build_endpoints(li2o, hop, recipe)
    assert len(initial) == supercell_size(li2o, hop, recipe) <= recipe.max_atoms
    nearest_image = min(
        initial.lattice.get_points_in_sphere([[0, 0, 0]], [0, 0, 0], 9.0),
        key=lambda found: found[1] or 99,
    )
    assert nearest_image[1] >= recipe.min_length_ang
    assert initial[0].distance(final[0]) == pytest.approx(hop.length_ang, abs=1e-6)


def test_demo_keeps_to_closed_shells():
    assert {"Li", "O", "P", "S", "Zr", "La"} <= closed_shell_elements()
    assert not {"Fe", "Mn", "Ti", "Cu", "Ce", "U"} & closed_shell_elements()


def test_every_demo_is_labelled_and_believed_less():
    for presets in PRESETS.values():
        for name, preset in presets.items():
            assert (preset.label == "demo") == (name == "demo")
            if name == "demo":
                assert preset.interval_halfwidth_ev >= 0.3


def test_own_preset_says_what_differs(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("base: mp\noptions: {flavour: stock}\nneb: {images: 7}\nlabel: trial\n")
    preset, base = dft_preset("vasp", str(own)), dft_preset("vasp", "mp")
    assert preset.neb.images == 7
    assert preset.neb.fmax_ev_ang == base.neb.fmax_ev_ang
    assert preset.options == {"preset": "mp", "flavour": "stock"}
    assert preset.label == "trial"


def test_engine_without_presets_takes_a_file_alone(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("options: {model: big}\n")
    preset = dft_preset("installed", str(own))
    assert preset.options == {"model": "big"}
    assert not preset.charged_vacancy
    with pytest.raises(BadInput, match="has no presets"):
        dft_preset("installed", "production")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("optoins: {}", "optoins: unknown key; did you mean 'options'"),
        ("neb: {imagse: 3}", "imagse"),
        ("base: mpp", "'mpp' is no preset of vasp"),
        ("- 1", "not a YAML mapping"),
    ],
)
def test_wrong_preset_file_is_one_line(tmp_path, text, said):
    own = tmp_path / "own.yaml"
    own.write_text(text)
    with pytest.raises(BadInput, match=said) as caught:
        dft_preset("vasp", str(own))
    assert "\n" not in str(caught.value)
