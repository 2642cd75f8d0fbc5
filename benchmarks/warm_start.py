"""What a warm start saves: force calls of a DFT-NEB from a potential's path, beside IDPP.

``python benchmarks/warm_start.py`` runs GPAW, preset ``demo``, on vacancy hops of the catalogue
from IDPP, from the converged path of each potential, and from there with the potential as guide,
as a screen does it, and prints a Markdown table. Ends start where the potential relaxed them. Calls
of ends and band are counted apart; what the potential's own band costs is given in CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from ase import Atoms

from workflows.bands import build_endpoints
from workflows.dft import dft_preset
from workflows.engines import Engine, get_potential
from workflows.hops import distinct_hops
from workflows.hosts import prepare_host
from workflows.neb import NebFailure, NebSettings, NebStep, as_atoms, run_neb
from workflows.sources.catalogue import load_catalogue

HOSTS = ("Li2O", "LiAlO2-alpha", "Li3OCl", "Li2S", "LiF", "LiCl", "Li2Se", "Li2CO3")

SAME_EV = 0.05
"""Barriers that differ by less belong to one saddle, at the largest force of ``demo``."""


def main() -> None:
    """Run every start on every host and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("hosts", nargs="*", default=HOSTS, help="catalogue ids of lithium hosts")
    parser.add_argument("--potentials", nargs="+", default=["mini", "chgnet"])
    parser.add_argument("--images", type=int, default=3)
    parser.add_argument("--force-calls", type=int, default=300, help="budget of each band")
    parser.add_argument("--out", type=Path, help="JSON lines; hosts in it are skipped")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    out = options.out.resolve() if options.out else None
    text = out.read_text() if out and out.is_file() else ""
    rows = [json.loads(line) for line in text.splitlines()]
    for name in options.hosts:
        if name not in {row["host"] for row in rows}:
            budget = {"max_force_calls": options.force_calls, "max_steps": options.force_calls}
            settings = {"images": options.images, **budget}
            rows.append(compared(name, options.potentials, settings))
            print(json.dumps(rows[-1]), flush=True)
            if out:
                with out.open("a") as handle:
                    handle.write(json.dumps(rows[-1]) + "\n")
    print(table(rows))


def compared(name: str, potentials: list[str], changes: dict[str, Any]) -> dict[str, Any]:
    """Force calls of one host's shortest hop from each start."""
    [record] = [record for record in load_catalogue({"Li"}) if record.material_id == name]
    assert record.structure is not None
    host = prepare_host(record.structure, "Li")
    preset = dft_preset("gpaw", "demo")
    settings = replace(preset.neb, **changes)
    hop = distinct_hops(host, "Li").hops[0]
    first, last = map(as_atoms, build_endpoints(host, hop, preset.recipe))
    engine = preset.make_engine("Li")
    row: dict[str, Any] = {"host": name, "length_ang": hop.length_ang, "atoms": len(first)}
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
    """Return the comparison as Markdown."""
    lines = [
        "| host | hop (Å) | atoms | start | barrier (eV) | calls of the ends | of the band | "
        "saved | potential's own barrier (eV) | its band (CPU s) |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    spent: dict[tuple[str, str], tuple[int, int]] = {}
    for row in rows:
        idpp = row["idpp"]
        head = f"| {row['host']} | {row['length_ang']:.2f} | {row['atoms']} |"
        for start, bill in {"IDPP": idpp, **row["warm"]}.items():
            if "failed" in bill:
                lines.append(f"{head} {start} | {bill['failed']} | | | | | |")
                continue
            own = "| | |"
            saved = ""
            if start != "IDPP" and "failed" not in idpp:
                calls, usual = (b["ends"] + b["band"] for b in (bill, idpp))
                saved = f"{1 - calls / usual:.0%}"
                own = f"| {bill['potential_barrier_ev']:.3f} | {bill['potential_cpu_s']:.1f} |"
                sums = ["all"]
                if bill["converged"] and abs(bill["barrier_ev"] - idpp["barrier_ev"]) < SAME_EV:
                    sums.append("those with the barrier of IDPP")
                for name in sums:
                    before = spent.get((name, start), (0, 0))
                    spent[name, start] = (before[0] + calls, before[1] + usual)
            mark = "" if bill["converged"] else " (not converged)"
            lines.append(
                f"{head} {start} | {bill['barrier_ev']:.3f}{mark} | {bill['ends']} | "
                f"{bill['band']} | {saved} {own}"
            )
    for (name, start), (calls, usual) in sorted(spent.items()):
        lines.append(
            f"| {name} | | | {start} | | | {calls} against {usual} | {1 - calls / usual:.0%} | | |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
