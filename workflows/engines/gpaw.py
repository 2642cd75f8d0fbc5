"""GPAW: free plane-wave density-functional theory (PAW, PBE), through its ASE calculator."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from pydantic import BaseModel, ConfigDict, Field

from stores.documents import ModelRef
from stores.errors import BadInput

REMEDY = (
    "pip install 'hopscreen[gpaw]'; with no libxc, BLAS or MPI on the machine, build it with "
    "GPAW_CONFIG=packaging/gpaw_siteconfig.py pip install --no-cache-dir gpaw gpaw-data"
)

MAGNETIC_MOMENTS = dict.fromkeys(("V", "Cr", "Mn", "Fe", "Ni", "Mo", "W"), 5.0) | {"Co": 0.6}
"""Initial moments in µB, as in the Materials Project's relaxations; the others start at 0."""


class GpawSettings(BaseModel):
    """What a GPAW calculation is made with; all of it decides the energy."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    xc: Literal["PBE"] = Field("PBE", description="built into GPAW, needs no libxc")
    cutoff_ev: float = Field(520.0, ge=200, le=2000, description="plane-wave cutoff (eV)")
    kpoint_density_ang: float | None = Field(
        3.5, gt=0, description="k-points per Å⁻¹ of reciprocal vector, Γ-centred; None: Γ alone"
    )
    charge_e: int = Field(0, description="charge of the cell; a uniform background balances it")
    spin_polarised: bool = True
    smearing_ev: float = Field(0.05, gt=0, description="width of Fermi-Dirac occupations (eV)")
    energy_tolerance_ev: float = Field(5e-4, gt=0, description="per valence electron (eV)")
    density_tolerance: float = Field(1e-4, gt=0, description="electrons per valence electron")
    eigenstates_tolerance_ev2: float = Field(4e-8, gt=0, description="per valence electron")
    max_scf_steps: int = Field(200, ge=10)


class GpawEngine:
    """GPAW (Mortensen et al., J. Chem. Phys. 160, 092503 (2024)), extra ``hopscreen[gpaw]``.

    Parameters
    ----------
    elements
        Allow these only; None allows every element with a PBE setup.
    **settings
        See :class:`GpawSettings`.

    Raises
    ------
    BadInput
        GPAW or its setups are not installed, or a setting is wrong.
    """

    name = "gpaw"
    level: Literal["dft"] = "dft"
    shared = False  # a wave function belongs to one geometry
    own_processes = True

    def __init__(self, elements: Collection[str] | None = None, **settings: Any) -> None:
        for package in ("gpaw", "gpaw_data"):
            if find_spec(package) is None:
                raise BadInput(f"engine 'gpaw': package {package} is not installed; {REMEDY}")
        try:
            self.settings = GpawSettings(**settings)
        except ValueError as error:
            raise BadInput(f"engine 'gpaw': {' '.join(str(error).split())}") from None
        self._allowed = elements

    @cached_property
    def elements(self) -> frozenset[str]:
        """Symbols with a PAW setup, as far as they are allowed."""
        import gpaw_data

        there = {path.name.split(".")[0] for path in Path(gpaw_data.datapath()).glob("*.PBE*")}
        return frozenset(there if self._allowed is None else there & set(self._allowed))

    def identity(self) -> ModelRef:
        """All settings, and the versions of code and setups."""
        detail = self.settings.model_dump()
        for package in ("gpaw", "gpaw-data"):
            detail[package] = version(package)
        return ModelRef(name=f"gpaw-{self.settings.xc}", detail=detail)

    def calculator(self, folder: Path | None = None) -> Calculator:
        """ASE calculator for one geometry's neighbourhood; its log goes to ``folder/gpaw.txt``."""
        return GpawCalculator(self.settings, folder)


class GpawCalculator(Calculator):
    """GPAW built when first asked, since magnetic moments depend on the atoms."""

    implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012  ASE declares it mutable

    def __init__(self, settings: GpawSettings, folder: Path | None) -> None:
        super().__init__()
        self.settings, self.folder = settings, folder
        self._gpaw: Any = None

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Collection[str] = ("energy",),
        system_changes: Collection[str] = all_changes,
    ) -> None:
        """Energy (extrapolated to zero smearing) in eV and forces in eV/Å."""
        super().calculate(atoms, properties, system_changes)
        if self._gpaw is None:
            self._gpaw = self._build(self.atoms)
        probe = Atoms(self.atoms)
        probe.calc = self._gpaw
        self.results = {
            "energy": probe.get_potential_energy(),
            "free_energy": probe.get_potential_energy(force_consistent=True),
            "forces": probe.get_forces(),
        }

    def _build(self, atoms: Atoms) -> Any:
        from gpaw import GPAW, PW, FermiDirac

        s = self.settings
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
        moments = [MAGNETIC_MOMENTS.get(symbol, 0.0) for symbol in atoms.symbols]
        return GPAW(
            mode=PW(s.cutoff_ev),
            xc=s.xc,
            kpts={"density": s.kpoint_density_ang, "gamma": True}
            if s.kpoint_density_ang
            else (1, 1, 1),
            charge=s.charge_e,
            spinpol=s.spin_polarised,
            magmoms=moments if s.spin_polarised else None,
            occupations=FermiDirac(s.smearing_ev),
            # Moving images break the point group; k and -k stay equivalent.
            symmetry={"point_group": False},
            convergence={
                "energy": s.energy_tolerance_ev,
                "density": s.density_tolerance,
                "eigenstates": s.eigenstates_tolerance_ev2,
            },
            maxiter=s.max_scf_steps,
            txt=str(self.folder / "gpaw.txt") if self.folder else None,
        )
