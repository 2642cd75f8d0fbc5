"""Presets of the DFT-NEB stage: data that says how dear and how true an estimate is.

A preset fixes everything that decides the number: electronic settings, band settings, supercell
and the width of the interval. Its label stands beside each number that it made.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml
from pymatgen.core import Element

from stores.errors import BadInput
from workflows.bands import Mode, SupercellRecipe
from workflows.engines import Engine, get_engine
from workflows.neb import NebSettings


@dataclass(frozen=True)
class DftPreset:
    """Settings of one engine for one purpose.

    Attributes
    ----------
    engine
        Name for :func:`workflows.engines.get_engine`.
    options
        Electronic settings, handed to the engine.
    neb
        How the band is relaxed.
    recipe
        How the supercell is made, and the largest one that is affordable; None takes the
        screen's own, in which the potential's path can be the start.
    charged_vacancy
        A vacancy carries the charge of the missing ion (V_Li′: one electron more than the
        neutral cell, balanced by a uniform background), so that an insulator stays one. Without
        it, and in dilute cells, the cell is neutral.
    closed_shells_only
        Leave hosts with open d or f shells alone, since they need spin and care.
    label
        Warning beside each number; None where none is needed.
    interval_halfwidth_ev
        Half of the 90 % interval around each barrier; None: that of DFT-NEB in general.
    """

    engine: str
    options: Mapping[str, Any]
    neb: NebSettings
    recipe: SupercellRecipe | None = None
    charged_vacancy: bool = True
    closed_shells_only: bool = False
    label: str | None = None
    interval_halfwidth_ev: float | None = None

    def charge_e(self, working_ion: str, mode: Mode) -> int:
        """Return the charge of the cell in units of e."""
        return vacancy_charge_e(working_ion, mode) if self.charged_vacancy else 0

    def make_engine(self, working_ion: str, mode: Mode = "vacancy") -> Engine:
        """Build the engine for hops of an ion; the charge state is among its settings.

        Raises
        ------
        BadInput
            The engine is not installed.
        """
        options = dict(self.options)
        if self.charged_vacancy:
            options["charge_e"] = self.charge_e(working_ion, mode)
        if self.closed_shells_only:
            options["elements"] = closed_shell_elements()
        return get_engine(self.engine, **options)


_DEMO_CELL = SupercellRecipe(
    min_length_ang=4.5, min_height_ang=4.0, min_atoms=8, max_atoms=24, minimal=True
)

# A host of so few atoms, at Γ alone, gives way where a real one would not, so that ridges seen
# in it are none of the crystal's: see docs/dft.md.
_DEMO_BAND = NebSettings(
    fmax_ev_ang=0.1, images=1, max_steps=40, max_force_calls=100, leave_ridges=False
)

PRESETS: dict[str, dict[str, DftPreset]] = {
    "gpaw": {
        # Minutes on one core: real DFT, but a cell, cutoff and k-mesh that nobody would publish.
        # One image finds the saddle of a hop with a mirror or inversion in the middle, which
        # most vacancy hops have; others are under-resolved. See docs/dft.md for trials.
        "demo": DftPreset(
            engine="gpaw",
            options={
                "cutoff_ev": 300.0,
                "kpoint_density_ang": None,
                "spin_polarised": False,
                "energy_tolerance_ev": 1e-3,
                "density_tolerance": 1e-3,
                "eigenstates_tolerance_ev2": 1e-4,
            },
            neb=_DEMO_BAND,
            recipe=_DEMO_CELL,
            closed_shells_only=True,
            label="demo",
            interval_halfwidth_ev=0.3,
        ),
        "production": DftPreset(
            engine="gpaw",
            options={"cutoff_ev": 520.0, "kpoint_density_ang": 3.5, "spin_polarised": True},
            neb=NebSettings(fmax_ev_ang=0.05, images=5),
        ),
    },
    "cp2k": {
        "demo": DftPreset(
            engine="cp2k",
            options={"cutoff_ry": 300.0, "eps_scf": 1e-5},
            neb=_DEMO_BAND,
            recipe=_DEMO_CELL,
            closed_shells_only=True,
            label="demo",
            interval_halfwidth_ev=0.3,
        ),
        "production": DftPreset(
            engine="cp2k",
            options={},
            neb=NebSettings(fmax_ev_ang=0.05, images=5),
            closed_shells_only=True,
        ),
    },
    "vasp": {
        # VTST's climbing image; settings are those of workflows/engines/vasp.py
        **{
            name: DftPreset(engine="vasp", options={"preset": settings}, neb=NebSettings(images=5))
            for name, settings in (
                ("production", "mp"),
                ("mp", "mp"),
                ("pbe", "pbe"),
                ("r2scan", "r2scan"),
            )
        },
        "mp-stock": DftPreset(
            engine="vasp",
            options={"preset": "mp", "flavour": "stock"},
            neb=NebSettings(images=5, climb=False),
        ),
        "demo": DftPreset(
            engine="vasp",
            options={"preset": "demo"},
            neb=NebSettings(fmax_ev_ang=0.1, images=3),
            label="demo",
            interval_halfwidth_ev=0.3,
        ),
    },
}
"""Presets by engine and name."""


def dft_preset(engine: str, name: str) -> DftPreset:
    """Look a preset up, or read one's own from a YAML file.

    Such a file may say ``base``, the preset that it starts from, ``options`` of the engine,
    ``neb`` (fields of :class:`workflows.neb.NebSettings`), and any other field of a preset::

        base: mp
        options: {preset: {incar: {ENCUT: 600}, reciprocal_density: 100}}
        neb: {images: 7}

    Raises
    ------
    BadInput
        No such engine or preset; names the nearest one. Or a file with unknown keys.
    """
    if Path(name).suffix in (".yaml", ".yml"):
        return _own_preset(engine, Path(name))
    if engine not in PRESETS:
        raise BadInput(f"dft_neb.engine: '{engine}' has no presets; {_hint(engine, PRESETS)}")
    if name not in PRESETS[engine]:
        raise BadInput(
            f"dft_neb.preset: '{name}' is no preset of {engine}; {_hint(name, PRESETS[engine])}"
        )
    return PRESETS[engine][name]


def _own_preset(engine: str, path: Path) -> DftPreset:
    try:
        content = dict(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"dft_neb.preset: {path}: not a YAML mapping ({reason})") from None
    if engine in PRESETS:
        base = dft_preset(engine, content.pop("base", "production"))
    else:  # an installed engine, of which nothing is known
        base = DftPreset(engine, {}, NebSettings(images=5), charged_vacancy=False)
    allowed = {field.name for field in fields(DftPreset)} - {"engine"}
    for key in content:
        if key not in allowed:
            raise BadInput(f"dft_neb.preset: {path}: {key}: unknown key; {_hint(key, allowed)}")
    try:
        if "neb" in content:
            content["neb"] = replace(base.neb, **content["neb"])
        if content.get("recipe"):
            content["recipe"] = SupercellRecipe(**content["recipe"])
        if "options" in content:
            content["options"] = {**base.options, **content["options"]}
        return replace(base, **content)
    except TypeError as error:
        raise BadInput(f"dft_neb.preset: {path}: {error}") from None


def vacancy_charge_e(working_ion: str, mode: Mode) -> int:
    """Charge of a cell that lacks an ion, in units of e: −1 for lithium; dilute cells are neutral.

    The cell is built by taking a neutral atom away; the electrons that the ion had left in the
    host are then put back, so that its bands stay filled.
    """
    return 0 if mode == "dilute" else -int(Element(working_ion).common_oxidation_states[0])


def closed_shell_elements() -> frozenset[str]:
    """Elements whose ions in solids have no open d or f shell: main group, d⁰ and d¹⁰."""
    closed = {"Sc", "Y", "La", "Lu", "Zr", "Hf", "Zn", "Cd"}
    return frozenset(
        element.symbol
        for element in Element
        if element.symbol in closed
        or not (element.is_transition_metal or element.is_rare_earth or element.is_actinoid)
    )


def _hint(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{near[0]}'?" if near else f"allowed: {', '.join(sorted(known))}"
