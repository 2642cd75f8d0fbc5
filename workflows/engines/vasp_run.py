"""VASP as an engine: ends and band are run by atomate2's makers, in folders that can go on.

VASP relaxes a band by itself, so this engine gives no forces to our optimisers: it relaxes the
ends (``initial/``, ``final/``) and the whole band (``neb/``). A run that was cut short goes on from
its CONTCARs; what was finished is read from ``result.json``.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.geometry import find_mic
from ase.io.vasp import read_vasp
from ase.mep import NEB
from atomate2 import SETTINGS
from atomate2.vasp.jobs.core import RelaxMaker
from atomate2.vasp.jobs.neb import NebFromImagesMaker
from atomate2.vasp.run import JobType
from pymatgen.io.ase import AseAtomsAdaptor

from stores.documents import ModelRef
from stores.errors import BadInput
from workflows.engines.forces import Evaluation, forces_of
from workflows.engines.vasp import Flavour, VaspPreset, check_ranks, known_elements, vasp_preset
from workflows.neb_band import attach
from workflows.neb_optimisers import largest
from workflows.neb_relax import RelaxedPath
from workflows.neb_run import BudgetSpent, Run
from workflows.neb_types import NebFailure, NebSettings, Progress, barriers

RESULT = "result.json"


class VaspEngine:
    """VASP through atomate2; the licence, ``VASP_CMD`` and the potentials are the user's.

    Parameters
    ----------
    preset
        Name, or the fields of a :class:`workflows.engines.vasp.VaspPreset`.
    flavour
        ``vtst`` climbs and needs the patch, ``stock`` does not.
    charge_e
        Charge of the cell.
    command
        Starts VASP; left out: atomate2's ``VASP_CMD``, and ``VASP_GAMMA_CMD`` for Γ alone.
    potcar_spec
        Write the names of the potentials instead of POTCARs, for a command that needs none.
    """

    name = "vasp"
    level: Literal["mlip", "dft"] = "dft"
    shared = False

    def __init__(
        self,
        preset: str | dict[str, Any] = "mp",
        flavour: Flavour = "vtst",
        charge_e: int = 0,
        command: str | None = None,
        potcar_spec: bool = False,
    ) -> None:
        if flavour not in ("vtst", "stock"):
            raise BadInput(f"engine 'vasp': flavour '{flavour}' is unknown; use vtst or stock")
        own = VaspPreset(**preset) if isinstance(preset, dict) else preset
        self.preset, self.flavour, self.charge_e = vasp_preset(own), flavour, charge_e
        self.command, self.potcar_spec = command or SETTINGS.VASP_CMD, potcar_spec
        self.gamma_command = command or SETTINGS.VASP_GAMMA_CMD

    @cached_property
    def elements(self) -> frozenset[str]:
        """Symbols with a potential in atomate2's set."""
        return known_elements()

    def identity(self) -> ModelRef:
        """Everything that decides the number."""
        return ModelRef(
            name="vasp",
            detail={
                "incar": self.preset.updates(),
                "reciprocal_density": self.preset.reciprocal_density,
                "flavour": self.flavour,
                "charge_e": self.charge_e,
                "atomate2": version("atomate2"),
                "pymatgen": version("pymatgen"),
            },
        )

    def calculator(self, folder: Path | None = None) -> Calculator:
        """VASP gives no forces one by one; see :meth:`run`."""
        raise BadInput("engine 'vasp' relaxes whole bands and gives no forces one by one")

    def run(self, settings: NebSettings, folder: Path | None, progress: Progress | None) -> VaspRun:
        """Start the account of one band."""
        if folder is None:
            raise BadInput("engine 'vasp' needs a folder to run in")
        program = shlex.split(os.path.expandvars(self.command))[0]
        if shutil.which(program) is None:
            raise BadInput(
                f"engine 'vasp': there is no command '{program}'; set VASP_CMD in ~/.atomate2.yaml "
                "or ATOMATE2_VASP_CMD in the environment"
            )
        return VaspRun(self, settings, folder, progress)


class VaspRun(Run):
    """Ends and band of one hop, each a run of VASP in a folder of its own."""

    def __init__(
        self, engine: VaspEngine, settings: NebSettings, folder: Path, progress: Progress | None
    ) -> None:
        super().__init__(settings, forces_of(engine, folder), progress)
        self.engine, self.folder = engine, folder

    def evaluate(self, images: Sequence[Atoms], labels: Sequence[str]) -> list[Evaluation]:
        """Nothing is asked beyond what VASP does by itself."""
        raise BudgetSpent

    def relax(self, atoms: Atoms, stage: str) -> Atoms:
        """Relax an end, or go on where it was cut short."""
        folder = self.folder / stage.split()[0]
        order = np.argsort(atoms.numbers, kind="stable")
        start = atoms.copy()
        if not (folder / RESULT).is_file():
            contcar = _contcar(folder, atoms[order])
            if contcar is not None:
                start.positions[order] = contcar.positions
            ordered = start[order]
            maker = RelaxMaker(
                input_set_generator=self.engine.preset.relax_set(
                    AseAtomsAdaptor.get_structure(ordered), self.engine.charge_e
                ),
                **self._maker_options(JobType.NORMAL),
            )
            with _fresh(folder):
                doc = maker.make.original(  # type: ignore[attr-defined]  # jobflow's undecorated
                    maker, AseAtomsAdaptor.get_structure(ordered)
                ).output
            if str(doc.state.value) != "successful":
                self.fail("endpoint_not_converged", f"{stage}: VASP did not converge; see {folder}")
            _keep(
                folder,
                positions_ang=doc.output.structure.cart_coords,
                forces_ev_ang=np.array(doc.output.forces),
                energy_ev=float(doc.output.energy),
                steps=len(doc.calcs_reversed[0].output.ionic_steps),
            )
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        self.calls += result["steps"]
        relaxed = _near(np.array(result["positions_ang"]), atoms, order)
        attach(relaxed, result["energy_ev"], _unsorted(np.array(result["forces_ev_ang"]), order))
        self.report(stage, result["steps"], largest(relaxed.get_forces()))
        return relaxed

    def relax_band(self, images: list[Atoms]) -> RelaxedPath:
        """Relax the band between two relaxed ends, or go on where it was cut short.

        Raises
        ------
        NebFailure
            VASP ended far from convergence; with the bracket.
        """
        folder, count = self.folder / "neb", len(images) - 2
        check_ranks(ranks_of(self.engine.command), count)
        order = np.argsort(images[0].numbers, kind="stable")
        if not (folder / RESULT).is_file():
            path = [image.copy() for image in images]
            for k in range(1, count + 1):
                contcar = _contcar(folder / f"{k:02d}", images[k][order])
                if contcar is not None:
                    path[k].positions[order] = contcar.positions
            structures = [AseAtomsAdaptor.get_structure(image[order]) for image in path]
            engine = self.engine
            maker = NebFromImagesMaker(
                input_set_generator=engine.preset.band_set(
                    structures[0], count, engine.flavour, engine.charge_e
                ),
                **self._maker_options(JobType.NEB),
            )
            with _fresh(folder):
                doc = maker.make.original(maker, structures).output  # type: ignore[attr-defined]
            outputs = [calculation.output for calculation in doc.calculations]
            _keep(
                folder,
                positions_ang=np.array([image.cart_coords for image in doc.images]),
                forces_ev_ang=np.array([output.ionic_steps[-1].forces for output in outputs]),
                energy_ev=[float(energy) for energy in doc.energies],
                steps=sum(len(output.ionic_steps) for output in outputs),
                converged=doc.state.value == "successful",
            )
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        self.calls += result["steps"]
        relaxed = [images[0]]
        for k in range(count):
            image = _near(np.array(result["positions_ang"][k]), images[k + 1], order)
            forces = _unsorted(np.array(result["forces_ev_ang"][k]), order)
            relaxed.append(attach(image, result["energy_ev"][k], forces))
        relaxed.append(images[-1])
        climb = self.engine.flavour == "vtst"
        band = NEB(relaxed, k=5.0, climb=climb, method="improvedtangent")
        fmax = largest(band.get_forces())
        found = RelaxedPath(relaxed, result["converged"], fmax, False, [0, count + 1])
        energies = found.energies_ev
        self.report("band", result["steps"], fmax, barriers(energies)["barrier_ev"])
        if not climb:
            self.warnings.append("stock VASP does not climb: the barrier is a lower bound")
        if not found.converged and fmax > self.settings.usable_fmax_ev_ang:
            raise NebFailure(
                "band_not_converged",
                f"VASP stopped at a force of {fmax:.2f} eV/Å; see {folder}",
                bracket_ev=(abs(energies[-1] - energies[0]), barriers(energies)["barrier_ev"]),
                images=relaxed,
                force_calls=self.calls,
            )
        return found

    def _maker_options(self, job_type: JobType) -> dict[str, Any]:
        run: dict[str, Any] = {
            "job_type": job_type,
            "vasp_cmd": self.engine.command,
            "vasp_gamma_cmd": self.engine.gamma_command,
        }
        if self.engine.potcar_spec:
            # what custodian mends, backs up and looks for Γ in would be POTCARs
            run["handlers"] = ()
            run["vasp_job_kwargs"] = {"backup": False, "auto_gamma": False}
        return {
            "write_input_set_kwargs": {"potcar_spec": self.engine.potcar_spec},
            "run_vasp_kwargs": run,
            "stop_children_kwargs": {"handle_unsuccessful": False},
        }


def ranks_of(command: str) -> int | None:
    """MPI ranks that a command starts, or the batch system gave; None where nothing says so."""
    said = re.search(r"(?:^|\s)(?:-n|-np|--ntasks)[ =](\d+)", os.path.expandvars(command))
    given = os.environ.get("SLURM_NTASKS", "")
    if said:
        return int(said[1])
    return int(given) if given.isdigit() and "srun" in command else None


def _contcar(folder: Path, like: Atoms) -> Atoms | None:
    """Geometry that an interrupted run left, near ``like``; None without one."""
    found = [file for file in (folder / "CONTCAR", folder / "CONTCAR.gz") if file.is_file()]
    for file in found:
        with contextlib.suppress(Exception):  # cut short in the middle of a line
            left = read_vasp(file)
            if list(left.symbols) == list(like.symbols):
                return _near(left.positions, like, np.arange(len(like)))
    return None


def _near(positions: np.ndarray, like: Atoms, order: np.ndarray) -> Atoms:
    """Sorted positions in the order of ``like``, each at its image nearest to there."""
    atoms = like.copy()
    atoms.calc = None
    shift = _unsorted(positions, order) - like.positions
    atoms.positions = like.positions + find_mic(shift, like.cell, like.pbc)[0]
    return atoms


def _unsorted(rows: np.ndarray, order: np.ndarray) -> np.ndarray:
    back = np.empty_like(rows)
    back[order] = rows
    return back


def _keep(folder: Path, **content: Any) -> None:
    plain = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in content.items()}
    (folder / RESULT).write_text(json.dumps(plain), encoding="utf-8")


@contextlib.contextmanager
def _fresh(folder: Path) -> Iterator[None]:
    """Work in an empty folder; what a run before left there is put aside."""
    if folder.is_dir() and any(folder.iterdir()):
        number = 1
        while folder.with_name(f"{folder.name}.{number}").exists():
            number += 1
        folder.rename(folder.with_name(f"{folder.name}.{number}"))
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(folder):
        yield
