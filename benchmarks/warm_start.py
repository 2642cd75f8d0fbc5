"""What a warm start saves: force calls of a dear band, with a cheap potential and without.

``python benchmarks/warm_start.py`` runs GPAW, preset ``demo``, on vacancy hops of the catalogue
from IDPP, from the converged path of each potential, and from there with the potential as guide,
as a screen does it, and prints a Markdown table. Ends start where the potential relaxed them. Calls
of ends and band are counted apart; what the potential's own band costs is given in CPU seconds.

``--bands DATA --engine chgnet --potentials mini`` does it on literature bands, in cells of their
size, with one potential in the part of DFT.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from ase import Atoms

from workflows.bands import build_endpoints
from workflows.dft import dft_preset
from workflows.distill.seeds import band_image
from workflows.distill.validate import literature_hops
from workflows.engines import Engine, get_potential
from workflows.hops import distinct_hops
from workflows.hosts import prepare_host
from workflows.neb import NebFailure, NebSettings, NebStep, as_atoms, run_neb
from workflows.sources.catalogue import load_catalogue

HOSTS = ("Li2O", "LiAlO2-alpha", "Li3OCl", "Li2S", "LiF", "LiCl", "Li2Se", "Li2CO3")

SAME_EV = 0.05
"""Barriers that differ by less belong to one saddle."""

Task = tuple[str, Atoms, Atoms, Engine, NebSettings]


def main() -> None:
    """Run every start on every hop and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("hosts", nargs="*", default=HOSTS, help="catalogue ids of lithium hosts")
    parser.add_argument("--potentials", nargs="+", default=["mini", "chgnet"])
    parser.add_argument("--images", type=int, default=3, help="with GPAW")
    parser.add_argument("--force-calls", type=int, default=300, help="budget of each band")
    parser.add_argument("--bands", type=Path, help="hops of these literature bands instead")
    parser.add_argument("--engine", default="chgnet", help="potential in the part of DFT there")
    parser.add_argument("--hops", type=int, default=30)
    parser.add_argument("--max-atoms", type=int, default=56)
    parser.add_argument("--out", type=Path, help="JSON lines; hops in it are skipped")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    out = options.out.resolve() if options.out else None
    text = out.read_text() if out and out.is_file() else ""
    rows = [json.loads(line) for line in text.splitlines()]
    for task in band_tasks(options) if options.bands else catalogue_tasks(options):
        if task[0] not in {row["host"] for row in rows}:
            rows.append(compared(*task, options.potentials))
            print(json.dumps(rows[-1]), flush=True)
            if out:
                with out.open("a") as handle:
                    handle.write(json.dumps(rows[-1]) + "\n")
    print(table(rows))


def catalogue_tasks(options: argparse.Namespace) -> Iterator[Task]:
    """Shortest hop of each host, for GPAW's demo with some more images."""
    preset = dft_preset("gpaw", "demo")
    settings = replace(
        preset.neb,
        images=options.images,
        max_force_calls=options.force_calls,
        max_steps=options.force_calls,
    )
    for name in options.hosts:
        [record] = [record for record in load_catalogue({"Li"}) if record.material_id == name]
        assert record.structure is not None
        host = prepare_host(record.structure, "Li")
        hop = distinct_hops(host, "Li").hops[0]
        first, last = map(as_atoms, build_endpoints(host, hop, preset.recipe))
        yield name, first, last, preset.make_engine("Li"), settings


def band_tasks(options: argparse.Namespace) -> Iterator[Task]:
    """Cheapest literature bands whose elements all potentials know."""
    engine = get_potential(options.engine)
    limits = [set(get_potential(name).elements or ()) for name in options.potentials]
    settings = NebSettings(max_force_calls=options.force_calls, max_steps=options.force_calls)
    known = (
        record
        for record in literature_hops(options.bands, max_atoms=options.max_atoms, held_out=None)
        if all(set(record["species"]) <= elements for elements in limits)
    )
    for record in islice(known, options.hops):
        ends = (as_atoms(band_image(record, index)) for index in (0, 4))
        yield record["system"], *ends, engine, settings


def compared(
    name: str,
    first: Atoms,
    last: Atoms,
    engine: Engine,
    settings: NebSettings,
    potentials: list[str],
) -> dict[str, Any]:
    """Force calls of one hop from each start."""
    length = float(np.linalg.norm(last.positions[0] - first.positions[0]))
    row: dict[str, Any] = {"host": name, "length_ang": length, "atoms": len(first)}
    row["idpp"] = band(first, last, engine, settings)
    row["warm"] = {}
    for potential in potentials:
        started = time.process_time()
        try:
            cheap = run_neb(first, last, get_potential(potential), replace(
                settings, max_force_calls=2000
            ))  # fmt: skip
        except NebFailure as failure:
            row["warm"][potential] = {"failed": f"its own band: {failure.kind}"}
            continue
        own = {
            "potential_cpu_s": time.process_time() - started,
            "potential_barrier_ev": cheap.barrier_ev,
        }
        for start, guide in ((potential, None), (f"{potential}, guided", get_potential(potential))):
            bill = band(first, last, engine, settings, cheap.images, guide)
            row["warm"][start] = own | bill
    return row


def band(
    first: Atoms,
    last: Atoms,
    engine: Engine,
    settings: NebSettings,
    guess: list[Atoms] | None = None,
    guide: Engine | None = None,
) -> dict[str, Any]:
    """One DFT band and its bill."""
    steps: list[NebStep] = []
    started = time.process_time()
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = run_neb(
                first, last, engine, settings,
                guess=guess, guide=guide, folder=Path(folder), progress=steps.append,
            )  # fmt: skip
    except NebFailure as failure:
        return {"failed": failure.kind, "calls": failure.force_calls}
    ends = max(step.force_calls for step in steps if step.stage.endswith("end"))
    return {
        "converged": result.converged,
        "barrier_ev": result.barrier_ev,
        "ends": ends,
        "band": result.force_calls - ends,
        "cpu_s": time.process_time() - started,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return the comparison as Markdown: hop by hop, then all together."""
    lines = [
        "| hop | Å | atoms | start | barrier (eV) | calls of the ends | of the band | saved | "
        "potential's own barrier (eV) | its band (CPU s) |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        head = f"| {row['host']} | {row['length_ang']:.2f} | {row['atoms']} |"
        for start, bill in {"IDPP": row["idpp"], **row["warm"]}.items():
            if "failed" in bill:
                lines.append(f"{head} {start} | {bill['failed']} | | | | | |")
                continue
            mark = "" if bill["converged"] else " (not converged)"
            own = "| |"
            if start != "IDPP":
                own = f"{1 - calls(bill) / calls(row['idpp']):.0%} | "
                own += f"{bill['potential_barrier_ev']:.3f} | {bill['potential_cpu_s']:.1f}"
            lines.append(
                f"{head} {start} | {bill['barrier_ev']:.3f}{mark} | {bill['ends']} | "
                f"{bill['band']} | {own} |"
            )
    return "\n".join([*lines, "", *summary(rows)])


def summary(rows: list[dict[str, Any]]) -> list[str]:
    """All hops together, and those where a start reaches the barrier that IDPP reaches."""
    lines = [
        "| start | converged | calls in all | per converged hop | hops of the same barrier | "
        "calls there | of IDPP there | saved |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for start in ["IDPP", *dict.fromkeys(name for row in rows for name in row["warm"])]:
        # where the potential has no path, a screen begins with IDPP
        bills = [row["warm"].get(start, row["idpp"]) for row in rows]
        bills = [
            row["idpp"] if "calls" not in bill and "failed" in bill else bill
            for row, bill in zip(rows, bills, strict=True)
        ]
        done = [bill for bill in bills if bill.get("converged")]
        same = [
            (calls(bill), calls(row["idpp"]))
            for row, bill in zip(rows, bills, strict=True)
            if bill.get("converged")
            and row["idpp"].get("converged")
            and abs(bill["barrier_ev"] - row["idpp"]["barrier_ev"]) < SAME_EV
        ]
        here, there = (sum(pair[k] for pair in same) for k in (0, 1))
        total = sum(map(calls, bills))
        lines.append(
            f"| {start} | {len(done)}/{len(rows)} | {total} | {total / max(1, len(done)):.0f} | "
            f"{len(same)} | {here} | {there} | {1 - here / max(1, there):.0%} |"
        )
    return lines


def calls(bill: dict[str, Any]) -> int:
    """Force calls of ends and band, or those spent in vain."""
    return int(bill["calls"] if "failed" in bill else bill["ends"] + bill["band"])


if __name__ == "__main__":
    main()
