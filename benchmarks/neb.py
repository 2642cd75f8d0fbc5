"""NEB drivers on the same hops with the same potential: who converges, at what cost.

``python benchmarks/neb.py`` takes six small hops of the catalogue, ``--bands DATA --hops 40`` those
of literature bands. The table gives, per driver, the bands converged, force calls and CPU seconds
per converged band (relaxation of the ends included), and how its barriers compare, each the highest
image above the lowest one of its path: a lower one is another, better path, or a saddle missed.
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
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from workflows.bands import SupercellRecipe, build_endpoints, supercell_size
from workflows.distill.seeds import band_image
from workflows.distill.validate import literature_hops
from workflows.engines import Engine, get_potential
from workflows.hops import distinct_hops
from workflows.hosts import Unfit, prepare_host
from workflows.neb import NebFailure, NebSettings, as_atoms, barriers, images_for, run_neb
from workflows.neb_band import frozen
from workflows.sources.catalogue import load_catalogue

WORKING_IONS = ("Li", "Na", "K", "Mg", "Ca", "Zn", "Al")
FMAX = 0.05
MAX_STEPS = 300
EQUAL_EV = 0.010


@dataclass
class Outcome:
    """One driver on one hop."""

    converged: bool
    barrier_ev: float | None
    force_calls: int
    cpu_s: float
    note: str = ""


Driver = Callable[[Any, Any], Outcome]


class Counter:
    """Counts evaluations of a calculator class, whoever makes them."""

    def __init__(self, calculator: Calculator) -> None:
        self.calls, self._class = 0, type(calculator)
        self._plain = self._class.calculate

    def __enter__(self) -> Counter:
        def counted(calculator: Calculator, *args: Any, **kwargs: Any) -> None:
            self.calls += 1
            self._plain(calculator, *args, **kwargs)

        setattr(self._class, "calculate", counted)  # noqa: B010  a method of a foreign class
        return self

    def __exit__(self, *exc: object) -> None:
        setattr(self._class, "calculate", self._plain)  # noqa: B010


def catalogue_hops(
    count: int, max_atoms: int, elements: set[str], ions: tuple[str, ...] = WORKING_IONS
) -> Iterator[tuple[str, Any, Any]]:
    """Shortest hop of each catalogue host, smallest cells first."""
    recipe = SupercellRecipe(max_atoms=max_atoms)
    found = []
    records = [(ion, record) for ion in ions for record in load_catalogue({ion})]
    for ion, record in records:
        assert record.structure is not None
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


def band_hops(
    bands: Path, count: int, max_atoms: int, elements: set[str]
) -> Iterator[tuple[str, Any, Any]]:
    """Ends of literature bands, cheapest first."""
    known = (
        record
        for record in literature_hops(bands, max_atoms=max_atoms, held_out=None)
        if set(record["species"]) <= elements
    )
    for record in islice(known, count):
        yield record["system"], band_image(record, 0), band_image(record, 4)


def ours(engine: Engine, settings: NebSettings) -> Driver:
    """``run_neb`` with some settings."""

    def run(initial: Structure | Atoms, final: Structure | Atoms) -> Outcome:
        try:
            result = run_neb(initial, final, engine, settings)
        except NebFailure as failure:
            return Outcome(False, None, failure.force_calls, 0.0, failure.kind)
        return Outcome(result.converged, result.barrier_ev, result.force_calls, 0.0)

    return run


def ase_defaults(engine: Engine, optimiser: str) -> Driver:
    """The script of ASE's tutorials, with a climbing image: relaxed ends, IDPP, one optimiser."""

    def run(initial: Structure | Atoms, final: Structure | Atoms) -> Outcome:
        from ase import optimize
        from ase.mep import NEB

        relax = getattr(optimize, optimiser)
        calculator = engine.calculator()
        ends = [as_atoms(initial), as_atoms(final)]
        for end in ends:
            end.calc = calculator
            relax(end, logfile=None).run(fmax=FMAX, steps=MAX_STEPS)
        ends = [frozen(end) for end in ends]
        energies = [end.get_potential_energy() for end in ends]
        count = images_for(ends[0], ends[1])
        images = [ends[0], *(ends[0].copy() for _ in range(count)), ends[1]]
        for image in images[1:-1]:
            image.calc = engine.calculator()
        band = NEB(images, climb=True, method="improvedtangent")
        band.interpolate("idpp", mic=True)
        converged = relax(band, logfile=None).run(fmax=FMAX, steps=MAX_STEPS)
        inner = [image.get_potential_energy() for image in images[1:-1]]
        path = np.array([energies[0], *inner, energies[1]])
        return Outcome(bool(converged), barriers(path)["barrier_ev"], 0, 0.0)

    return run


def atomate2_pipeline(model_file: Path) -> Driver:
    """Relax makers and ``ForceFieldNebFromImagesMaker``, run in process, kwargs mended."""

    def run(initial: Structure | Atoms, final: Structure | Atoms) -> Outcome:
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
        count = images_for(as_atoms(initial), as_atoms(final))
        both = [AseAtomsAdaptor.get_structure(as_atoms(end)) for end in (initial, final)]
        make: Any = relax.make
        ends = [make.original(relax, end).output.structure for end in both]
        interpolated: Any = get_images_from_endpoints
        images = interpolated.original(ends, count, NebInterpolation.IDPP)
        make = band.make
        result = make.original(band, images)
        energies = np.array(result.energies)
        return Outcome(
            str(getattr(result.state, "value", result.state)) == "successful",
            barriers(energies)["barrier_ev"],
            0,
            0.0,
        )

    return run


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--hops", type=int, default=6, help="number of hops")
    parser.add_argument("--max-atoms", type=int, default=80)
    parser.add_argument("--ions", nargs="*", default=WORKING_IONS, help="working ions")
    parser.add_argument("--bands", type=Path, help="hops of these literature bands instead")
    parser.add_argument("--drivers", nargs="*", help="only these drivers")
    parser.add_argument("--out", type=Path, help="JSON lines, one per hop and driver; resumable")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    engine = get_potential(options.model)
    known = set(engine.elements or ())
    out = options.out.resolve() if options.out else None
    if options.bands:
        hops = list(band_hops(options.bands, options.hops, options.max_atoms, known))
    else:
        ions = tuple(options.ions)
        hops = list(catalogue_hops(options.hops, options.max_atoms, known, ions))
    rows = (
        [json.loads(line) for line in out.read_text().splitlines()] if out and out.is_file() else []
    )
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        drivers = make_drivers(engine)
        names = options.drivers or list(drivers)
        there = {(row["hop"], row["driver"]) for row in rows}
        for name, initial, final in hops:
            for driver in names:
                if (name, driver) in there:
                    continue
                rows.append(measured(name, driver, drivers[driver], initial, final, engine))
                print(json.dumps(rows[-1]), flush=True)
                if out:
                    with out.open("a") as handle:
                        handle.write(json.dumps(rows[-1]) + "\n")
    print(table(rows))


def make_drivers(engine: Engine) -> dict[str, Driver]:
    """All drivers by name."""
    plain = NebSettings(fmax_ev_ang=FMAX, max_steps=MAX_STEPS)
    drivers = {
        "hopscreen": ours(engine, plain),
        "hopscreen, ode": ours(engine, replace(plain, optimiser="ode")),
        "hopscreen, fire": ours(engine, replace(plain, optimiser="fire")),
        "hopscreen, lbfgs": ours(engine, replace(plain, optimiser="lbfgs")),
        "hopscreen, climbing at once": ours(engine, replace(plain, climb_from_ev_ang=99.0)),
        "ASE, FIRE": ase_defaults(engine, "FIRE"),
        "ASE, BFGS": ase_defaults(engine, "BFGS"),
    }
    calculator = engine.calculator()
    if hasattr(calculator, "models"):
        torch.save(calculator.models[0], "potential.model")
        drivers["atomate2"] = atomate2_pipeline(Path("potential.model").resolve())
    return drivers


def measured(
    hop: str, name: str, run: Driver, initial: Any, final: Any, engine: Engine
) -> dict[str, Any]:
    """Run one driver on one hop, with its bill."""
    started = time.process_time()
    with Counter(engine.calculator()) as counter, contextlib.redirect_stdout(io.StringIO()):
        try:
            outcome = run(initial, final)
        except Exception as error:  # a driver that breaks has lost this hop
            note = f"{type(error).__name__}: {error}".splitlines()[0]
            outcome = Outcome(False, None, 0, 0.0, note)
    outcome.cpu_s = time.process_time() - started
    outcome.force_calls = outcome.force_calls or counter.calls
    return {"hop": hop, "driver": name, **outcome.__dict__}


def table(rows: list[dict[str, Any]]) -> str:
    """Return the summary as Markdown."""
    own = {r["hop"]: r for r in rows if r["driver"] == "hopscreen" and r["converged"]}
    lines = [
        "| driver | converged | force calls (median) | CPU s per converged band | "
        "converged bands per core-hour | within 10 meV of hopscreen's | CPU time "
        "there over hopscreen's | lower | higher |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for driver in dict.fromkeys(row["driver"] for row in rows):
        mine = [row for row in rows if row["driver"] == driver]
        done = [row for row in mine if row["converged"]]
        shared = [row for row in done if row["hop"] in own]
        over = np.array([r["barrier_ev"] - own[r["hop"]]["barrier_ev"] for r in shared])
        equal = [row for row, gap in zip(shared, over, strict=True) if abs(gap) <= EQUAL_EV]
        ratio = sum(r["cpu_s"] for r in equal) / sum(own[r["hop"]]["cpu_s"] for r in equal)
        calls = np.median([row["force_calls"] for row in done]) if done else np.nan
        cost = sum(row["cpu_s"] for row in mine) / max(1, len(done))
        counts = f"{len(done)}/{len(mine)}"
        lines.append(
            f"| {driver} | {counts} | {calls:.0f} | {cost:.1f} | {3600 / cost:.0f} | "
            f"{len(equal)} | {ratio:.1f} | {(over < -EQUAL_EV).sum()} | {(over > EQUAL_EV).sum()} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
