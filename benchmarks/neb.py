"""NEB drivers on the same hops with the same potential: who converges, at what cost.

``python benchmarks/neb.py`` takes six small hops of the catalogue, ``--full`` forty. The table
gives, per driver, the bands converged, force calls and CPU seconds per converged band (relaxation
of the ends included) and how far its barrier lies from a tight reference.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from ase.calculators.calculator import Calculator
from pymatgen.core import Structure

from workflows.bands import SupercellRecipe, build_endpoints, supercell_size
from workflows.engines import Engine, get_potential
from workflows.hops import distinct_hops
from workflows.hosts import Unfit, prepare_host
from workflows.neb import NebFailure, NebSettings, images_for, run_neb
from workflows.sources.catalogue import load_catalogue

WORKING_IONS = ("Li", "Na", "K", "Mg", "Ca", "Zn", "Al")
FMAX = 0.05
MAX_STEPS = 500


@dataclass
class Outcome:
    """One driver on one hop."""

    converged: bool
    barrier_ev: float | None
    force_calls: int
    cpu_s: float
    note: str = ""


class Counter:
    """Counts evaluations of a calculator class, whoever makes them."""

    def __init__(self, calculator: Calculator) -> None:
        self.calls, self._class = 0, type(calculator)
        self._plain = self._class.calculate

    def __enter__(self) -> Counter:
        def counted(calculator: Calculator, *args: Any, **kwargs: Any) -> None:
            self.calls += 1
            self._plain(calculator, *args, **kwargs)

        self._class.calculate = counted
        return self

    def __exit__(self, *exc: object) -> None:
        self._class.calculate = self._plain


def hops(
    count: int, max_atoms: int, elements: set[str], ions: tuple[str, ...] = WORKING_IONS
) -> Iterator[tuple[str, Any, Any]]:
    """Shortest hop of each catalogue host, smallest cells first."""
    recipe = SupercellRecipe(max_atoms=max_atoms)
    found = []
    records = [(ion, record) for ion in ions for record in load_catalogue({ion})]
    for ion, record in records:
        with contextlib.suppress(Unfit):
            host = prepare_host(record.structure, ion)
            if not set(host.symbol_set) <= elements:
                continue
            hop = distinct_hops(host, ion).hops[0]
            size = supercell_size(host, hop, recipe)
            if size is not None and size <= max_atoms:
                found.append((size, record.material_id, build_endpoints(host, hop, recipe)))
    for size, name, ends in sorted(found, key=lambda item: item[:2])[:count]:
        yield f"{name} ({size})", *ends


def ours(engine: Engine, settings: NebSettings) -> Callable[[Structure, Structure], Outcome]:
    """``run_neb`` with some settings."""

    def run(initial: Structure, final: Structure) -> Outcome:
        try:
            result = run_neb(initial, final, engine, settings)
        except NebFailure as failure:
            return Outcome(False, None, failure.force_calls, 0.0, failure.kind)
        return Outcome(result.converged, result.barrier_ev, result.force_calls, 0.0)

    return run


def ase_defaults(engine: Engine, optimiser: str) -> Callable[[Structure, Structure], Outcome]:
    """The script of ASE's tutorials, with a climbing image: relaxed ends, IDPP, one optimiser."""

    def run(initial: Structure, final: Structure) -> Outcome:
        from ase import optimize
        from ase.mep import NEB

        from workflows.neb import as_atoms
        from workflows.neb_band import frozen

        relax = getattr(optimize, optimiser)
        calculator = engine.calculator()
        ends = [as_atoms(initial), as_atoms(final)]
        for end in ends:
            end.calc = calculator
            relax(end, logfile=None).run(fmax=FMAX, steps=MAX_STEPS)
        ends = [frozen(end) for end in ends]
        energies = [end.get_potential_energy() for end in ends]
        count = images_for(*ends, 0.8)
        images = [ends[0], *(ends[0].copy() for _ in range(count)), ends[1]]
        for image in images[1:-1]:
            image.calc = engine.calculator()
        band = NEB(images, climb=True, method="improvedtangent")
        band.interpolate("idpp", mic=True)
        converged = relax(band, logfile=None).run(fmax=FMAX, steps=MAX_STEPS)
        top = max(image.get_potential_energy() for image in images[1:-1])
        return Outcome(bool(converged), max(top, *energies) - min(energies), 0, 0.0)

    return run


def atomate2_pipeline(model_file: Path) -> Callable[[Structure, Structure], Outcome]:
    """Relax makers and ``ForceFieldNebFromImagesMaker``, run in process, kwargs mended."""

    def run(initial: Structure, final: Structure) -> Outcome:
        from atomate2.common.jobs.neb import NebInterpolation, get_images_from_endpoints
        from atomate2.forcefields.jobs import ForceFieldRelaxMaker
        from atomate2.forcefields.neb import ForceFieldNebFromImagesMaker

        # mace-torch unpickles its own files only with this, which our engine takes back
        os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
        common: dict[str, Any] = {
            "force_field_name": "MACE-MP-0",
            "calculator_kwargs": {"model": str(model_file), "default_dtype": "float32"},
        }
        relax = ForceFieldRelaxMaker(
            relax_cell=False, steps=MAX_STEPS, relax_kwargs={"fmax": FMAX}, **common
        )
        band = ForceFieldNebFromImagesMaker(
            steps=MAX_STEPS,
            relax_kwargs={"fmax": FMAX},
            neb_kwargs={"climb": True, "method": "improvedtangent", "k": 1.0},
            **common,
        )
        ends = [relax.make.original(relax, end).output.structure for end in (initial, final)]
        length = float(np.linalg.norm(final.cart_coords[0] - initial.cart_coords[0]))
        count = max(3, int(np.ceil(length / 0.8 - 1e-9)) - 1)
        images = get_images_from_endpoints.original(ends, count, NebInterpolation.IDPP)
        result = band.make.original(band, images)
        energies = np.array(result.energies)
        return Outcome(
            str(getattr(result.state, "value", result.state)) == "successful",
            float(energies.max() - min(energies[0], energies[-1])),
            0,
            0.0,
        )

    return run


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--full", action="store_true", help="forty hops of up to 130 atoms")
    parser.add_argument("--hops", type=int, help="number of hops")
    parser.add_argument("--ions", nargs="*", default=WORKING_IONS, help="working ions")
    parser.add_argument("--drivers", nargs="*", help="only these drivers")
    parser.add_argument("--out", type=Path, help="JSON lines, one per hop and driver")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    engine = get_potential(options.model)
    plain = NebSettings(fmax_ev_ang=FMAX, max_steps=MAX_STEPS, max_force_calls=10**6)
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        drivers: dict[str, Any] = {
            "hopscreen": ours(engine, plain),
            "hopscreen, fire": ours(engine, replace(plain, optimiser="fire")),
            "hopscreen, ode": ours(engine, replace(plain, optimiser="ode")),
            "hopscreen, climbing at once": ours(engine, replace(plain, climb_from_ev_ang=99.0)),
            "ASE, FIRE": ase_defaults(engine, "FIRE"),
            "ASE, BFGS": ase_defaults(engine, "BFGS"),
        }
        calculator = engine.calculator()
        if hasattr(calculator, "models"):
            torch.save(calculator.models[0], "potential.model")
            drivers["atomate2"] = atomate2_pipeline(Path("potential.model").resolve())
        if options.drivers:
            drivers = {name: drivers[name] for name in options.drivers}
        count, size = (40, 130) if options.full else (6, 80)
        rows = []
        known = set(engine.elements or ())
        for name, initial, final in hops(options.hops or count, size, known, options.ions):
            for driver, run in drivers.items():
                started = time.process_time()
                with Counter(calculator) as counter, contextlib.redirect_stdout(io.StringIO()):
                    try:
                        outcome = run(initial, final)
                    except Exception as error:  # a driver that breaks has lost this hop
                        note = f"{type(error).__name__}: {error}".splitlines()[0]
                        outcome = Outcome(False, None, 0, 0.0, note)
                outcome.cpu_s = time.process_time() - started
                outcome.force_calls = counter.calls
                rows.append({"hop": name, "driver": driver, **outcome.__dict__})
                print(json.dumps(rows[-1]), flush=True)
                if options.out:
                    with options.out.open("a") as handle:
                        handle.write(json.dumps(rows[-1]) + "\n")
    print(table(rows))


def table(rows: list[dict[str, Any]]) -> str:
    """Return the summary as Markdown."""
    hops = sorted({row["hop"] for row in rows})
    lowest: dict[str, float] = {}
    for row in rows:
        if row["converged"]:
            lowest[row["hop"]] = min(row["barrier_ev"], lowest.get(row["hop"], np.inf))
    lines = [
        "| driver | converged | force calls (median) | CPU s per converged band | "
        "within 10 meV of the lowest | highest above the lowest (eV) |",
        "|---|---|---|---|---|---|",
    ]
    for driver in dict.fromkeys(row["driver"] for row in rows):
        mine = [row for row in rows if row["driver"] == driver]
        done = [row for row in mine if row["converged"]]
        over = [row["barrier_ev"] - lowest[row["hop"]] for row in done]
        calls = np.median([row["force_calls"] for row in done]) if done else np.nan
        cost = sum(row["cpu_s"] for row in mine) / max(1, len(done))
        lines.append(
            f"| {driver} | {len(done)}/{len(hops)} | {calls:.0f} | {cost:.1f} | "
            f"{sum(x <= 0.010 for x in over)} | {max(over, default=np.nan):.3f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
