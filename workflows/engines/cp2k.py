"""CP2K: free Gaussian and plane-wave DFT, through its ASE calculator. An example of a short engine.

Everything an engine has to say is here: how to make a calculator, which elements it knows, and
what identifies a number that it made.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import Literal

from ase.calculators.calculator import Calculator
from ase.calculators.cp2k import CP2K
from ase.units import Rydberg

from stores.documents import ModelRef
from stores.errors import BadInput

DATA = ("/usr/share/cp2k", "/usr/share/cp2k/data", "/usr/local/share/cp2k/data")

INPUT = """
&FORCE_EVAL
  &DFT
    &SCF
      EPS_SCF {eps_scf}
      SCF_GUESS RESTART
      &OT
        PRECONDITIONER FULL_SINGLE_INVERSE
        MINIMIZER DIIS
      &END OT
      &OUTER_SCF
        MAX_SCF 10
        EPS_SCF {eps_scf}
      &END OUTER_SCF
    &END SCF
  &END DFT
&END FORCE_EVAL
"""


class Cp2kEngine:
    """CP2K (Kühne et al., J. Chem. Phys. 152, 194103 (2020)), PBE at Γ, closed shells.

    Parameters
    ----------
    cutoff_ry
        Of the finest grid, in Ry.
    basis_set
        Of the file ``BASIS_MOLOPT``.
    charge_e
        Charge of the cell; a uniform background balances it.
    eps_scf
        Convergence of the orbitals' gradient.
    command
        Starts CP2K's shell.
    elements
        Allow these only; None allows every element with this basis set.

    Raises
    ------
    BadInput
        CP2K is not installed.
    """

    name = "cp2k"
    level: Literal["dft"] = "dft"
    shared = False  # a process and a wave function for each geometry
    own_processes = True

    def __init__(
        self,
        cutoff_ry: float = 500.0,
        basis_set: str = "DZVP-MOLOPT-SR-GTH",
        charge_e: int = 0,
        eps_scf: float = 1e-6,
        command: str = "cp2k_shell",
        elements: Collection[str] | None = None,
    ) -> None:
        if shutil.which(command.split()[0]) is None:
            raise BadInput(f"engine 'cp2k': there is no command '{command}'; apt install cp2k")
        self.cutoff_ry, self.basis_set, self.charge_e = cutoff_ry, basis_set, charge_e
        self.eps_scf, self.command, self._allowed = eps_scf, command, elements

    @cached_property
    def _data(self) -> Path:
        for place in (os.environ.get("CP2K_DATA_DIR", ""), *DATA):
            if place and (Path(place) / "BASIS_MOLOPT").is_file():
                return Path(place)
        raise BadInput("engine 'cp2k': no BASIS_MOLOPT found; set CP2K_DATA_DIR")

    @cached_property
    def elements(self) -> frozenset[str]:
        """Symbols with this basis set, as far as they are allowed."""
        text = (self._data / "BASIS_MOLOPT").read_text(encoding="utf-8")
        there = set(re.findall(rf"^\s*([A-Z][a-z]?)\s+{self.basis_set}\b", text, re.MULTILINE))
        return frozenset(there if self._allowed is None else there & set(self._allowed))

    def identity(self) -> ModelRef:
        """All settings."""
        settings = {"cutoff_ry": self.cutoff_ry, "basis_set": self.basis_set}
        return ModelRef(
            name="cp2k-PBE", detail={**settings, "charge_e": self.charge_e, "eps_scf": self.eps_scf}
        )

    def calculator(self, folder: Path | None = None) -> Calculator:
        """ASE calculator; its files go to ``folder``."""
        os.environ.setdefault("CP2K_DATA_DIR", str(self._data))
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        return CP2K(
            label=str(folder / "cp2k") if folder else None,
            command=self.command,
            xc="PBE",
            cutoff=self.cutoff_ry * Rydberg,
            basis_set=self.basis_set,
            pseudo_potential="GTH-PBE",
            charge=self.charge_e,
            max_scf=30,
            inp=INPUT.format(eps_scf=self.eps_scf),
            stress_tensor=False,
        )
