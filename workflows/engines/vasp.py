"""VASP: the inputs of a DFT-NEB, by atomate2's sets, written without a licence.

The folder holds both end relaxations and the band::

    initial/  final/        INCAR KPOINTS POSCAR POTCAR.spec
    neb/                    INCAR KPOINTS POTCAR.spec, 00/POSCAR … NN/POSCAR

POTCAR.spec names the potentials; `potcar_spec` of pymatgen and atomate2 turns it into a POTCAR
where the licence is. NELECT of a charged cell comes from the valences in pymatgen's public
POTCAR statistics, so that charge, too, needs no licence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from atomate2.vasp.files import write_vasp_input_set
from atomate2.vasp.sets.base import VaspInputGenerator
from atomate2.vasp.sets.core import NebSetGenerator, RelaxSetGenerator
from monty.serialization import loadfn
from pymatgen.core import Structure
from pymatgen.io.vasp import inputs as vasp_inputs
from pymatgen.io.vasp.inputs import Kpoints

from stores.errors import BadInput

Flavour = Literal["vtst", "stock"]

# atomate2 relaxes the ends with another PREC and EDIFF than the band; energies must compare.
_COMMON = {
    "ENCUT": 520, "PREC": "Accurate", "EDIFF": 1e-6, "ISPIN": 2, "ISMEAR": 0, "SIGMA": 0.05,
    "LREAL": "Auto", "LASPH": True, "NELM": 200, "LVTOT": False, "LAECHG": False,
}  # fmt: skip


@dataclass(frozen=True)
class VaspPreset:
    """Settings of VASP on top of atomate2's base set (its potentials, moments and U values).

    Attributes
    ----------
    incar
        Tags that replace those of the set; None removes a tag.
    reciprocal_density
        k-points per Å⁻³ of reciprocal cell, Γ-centred, from the supercell at hand.
    fmax_ev_ang
        Force at convergence of ends and band (EDIFFG).
    """

    incar: dict[str, Any] = field(default_factory=dict)
    reciprocal_density: int = 64
    fmax_ev_ang: float = 0.05

    def updates(self, **more: Any) -> dict[str, Any]:
        """All INCAR tags of the preset."""
        return _COMMON | {"EDIFFG": -self.fmax_ev_ang} | self.incar | more

    def relax_set(self, structure: Structure, charge_e: int) -> RelaxSetGenerator:
        """atomate2's set for an end, relaxed at fixed cell."""
        return RelaxSetGenerator(
            user_incar_settings=self.updates(
                ISIF=2, IBRION=2, LWAVE=False, LCHARG=False, **nelect(structure, charge_e)
            ),
            auto_ismear=False,
            auto_kspacing=False,
            user_kpoints_settings={"reciprocal_density": self.reciprocal_density},
        )

    def band_set(
        self, structure: Structure, images: int, flavour: Flavour, charge_e: int
    ) -> NebSetGenerator:
        """atomate2's set for the band."""
        return NebSetGenerator(
            num_images=images,
            climbing_image=flavour == "vtst",
            user_incar_settings=self.updates(NSW=200, LWAVE=False, **nelect(structure, charge_e)),
            user_kpoints_settings={"reciprocal_density": self.reciprocal_density},
        )


PRESETS: dict[str, VaspPreset] = {
    # PBE+U with the Materials Project's U for transition-metal oxides and fluorides
    "mp": VaspPreset({"GGA": "PE"}),
    "pbe": VaspPreset({"GGA": "PE", "LDAU": False}),
    "r2scan": VaspPreset({"GGA": None, "METAGGA": "R2scan", "LDAU": False, "ENCUT": 680}),
    "demo": VaspPreset({"GGA": "PE", "LDAU": False, "ENCUT": 400}, 16, 0.1),
}
"""Presets by name."""


def write_neb_inputs(
    path: Sequence[Structure],
    folder: Path,
    *,
    preset: str | VaspPreset = "mp",
    flavour: Flavour = "vtst",
    charge_e: int = 0,
    ranks: int | None = None,
) -> list[Path]:
    """Write all input files of one DFT-NEB.

    Parameters
    ----------
    path
        Initial end, movable images and final end, the same site order in all: the converged
        path of a potential, an IDPP or a linear one.
    folder
        Created; must be empty or absent.
    preset
        Name, or settings of one's own.
    flavour
        ``vtst``: climbing image and force-based optimiser, needs the VTST patch. ``stock``:
        plain band, which stays below the saddle, since stock VASP ignores LCLIMB.
    charge_e
        Charge of the cell, e.g. −1 for a lithium vacancy; a uniform background balances it.
    ranks
        MPI ranks of the job, checked if given: VASP splits them evenly among the images.

    Returns
    -------
    list of Path
        The files, sorted.

    Raises
    ------
    BadInput
        Unknown preset, too short or inconsistent path, ranks not divisible, folder not empty.
    """
    settings = vasp_preset(preset)
    images = len(path) - 2
    if images < 1:
        raise BadInput(f"VASP: a path of {len(path)} structures has no image; give at least 3")
    if any(one.species != path[0].species or one.lattice != path[0].lattice for one in path[1:]):
        raise BadInput("VASP: cell or site order changes along the path; all images must agree")
    check_ranks(ranks, images)
    if folder.exists() and any(folder.iterdir()):
        raise BadInput(f"{folder}: is not empty; give a new folder")
    # One POTCAR serves all images, so elements must come in blocks; sorting is stable, and
    # the elements are the same everywhere, so every image gets the same order.
    ordered = [one.get_sorted_structure() for one in path]
    relax = settings.relax_set(ordered[0], charge_e)
    for name, end in (("initial", ordered[0]), ("final", ordered[-1])):
        _write(end, relax, folder / name)
    _write(ordered[0], settings.band_set(ordered[0], images, flavour, charge_e), folder / "neb")
    (folder / "neb" / "POSCAR").unlink()
    grid = Kpoints.from_file(folder / "neb" / "KPOINTS")
    for number, image in enumerate(ordered):
        inside = folder / "neb" / f"{number:02d}"
        inside.mkdir()
        image.to(str(inside / "POSCAR"), fmt="poscar")
        grid.write_file(inside / "KPOINTS")  # VASP 6 with HDF5 looks for it in every image
    return sorted(file for file in folder.rglob("*") if file.is_file())


def check_ranks(ranks: int | None, images: int) -> None:
    """Refuse a number of MPI ranks that VASP cannot split among the images."""
    if ranks is not None and ranks % images:
        raise BadInput(
            f"VASP: {ranks} MPI ranks are not divisible by {images} images; use a multiple of "
            f"{images}"
        )


def nelect(structure: Structure, charge_e: int) -> dict[str, float]:
    """Tag that gives a cell its charge; none for a neutral one."""
    return {"NELECT": electrons(structure) - charge_e} if charge_e else {}


def electrons(structure: Structure) -> float:
    """Count the valence electrons of the neutral cell with the set's potentials.

    Raises
    ------
    BadInput
        An element has no potential in the set.
    """
    symbols = RelaxSetGenerator().config_dict["POTCAR"]
    valences = _valences(RelaxSetGenerator().config_dict["POTCAR_FUNCTIONAL"])
    total = 0.0
    for element, count in structure.composition.element_composition.items():
        symbol = symbols.get(element.symbol)
        if symbol not in valences:
            raise BadInput(f"VASP: no potential is known for {element.symbol}; leave the host out")
        total += valences[symbol] * count
    return total


@cache
def _valences(functional: str) -> dict[str, float]:
    """Valence electrons by POTCAR symbol, from the statistics that pymatgen publishes."""
    statistics = loadfn(Path(vasp_inputs.__file__).parent / "potcar-summary-stats.json.bz2")
    return {
        entry["symbol"]: float(entry["ZVAL"])
        for entries in statistics[functional].values()
        for entry in entries
    }


def known_elements() -> frozenset[str]:
    """Elements with a potential in atomate2's base set."""
    return frozenset(RelaxSetGenerator().config_dict["POTCAR"])


def vasp_preset(preset: str | VaspPreset) -> VaspPreset:
    """Look a preset up by name.

    Raises
    ------
    BadInput
        No such preset.
    """
    if isinstance(preset, VaspPreset):
        return preset
    if preset not in PRESETS:
        raise BadInput(f"VASP: '{preset}' is no preset; allowed: {', '.join(sorted(PRESETS))}")
    return PRESETS[preset]


def _write(structure: Structure, generator: VaspInputGenerator, folder: Path) -> None:
    folder.mkdir(parents=True)
    write_vasp_input_set(structure, generator, directory=folder, potcar_spec=True)
