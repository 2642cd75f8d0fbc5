"""What a warm start saves: force calls of a DFT-NEB from a potential's path, beside IDPP.

``python benchmarks/warm_start.py`` runs GPAW, preset ``demo``, on vacancy hops of the catalogue
from both starts and prints a Markdown table. Both relax the ends alike; calls of the band are
counted apart. What the potential's own band costs is given in CPU seconds.
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

HOSTS = ("Li2O", "LiAlO2-alpha", "Li3OCl", "Li2CO3", "Li2S")


def main() -> None:
    """Run both starts on every host and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("hosts", nargs="*", default=HOSTS, help="catalogue ids of lithium hosts")
    parser.add_argument("--potential", default="mini")
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON lines; hosts in it are skipped")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    out = options.out.resolve() if options.out else None
    text = out.read_text() if out and out.is_file() else ""
    rows = [json.loads(line) for line in text.splitlines()]
    potential = get_potential(options.potential)
    for name in options.hosts:
        if name not in {row["host"] for row in rows}:
            rows.append(compared(name, potential, options.images))
            print(json.dumps(rows[-1]), flush=True)
            if out:
                with out.open("a") as handle:
                    handle.write(json.dumps(rows[-1]) + "\n")
    print(table(rows))


def compared(name: str, potential: Engine, images: int) -> dict[str, Any]:
    """Force calls of one host's shortest hop from either start."""
    [record] = [record for record in load_catalogue({"Li"}) if record.material_id == name]
    assert record.structure is not None
    host = prepare_host(record.structure, "Li")
    preset = dft_preset("gpaw", "demo")
    settings = replace(preset.neb, images=images)
    hop = distinct_hops(host, "Li").hops[0]
    first, last = map(as_atoms, build_endpoints(host, hop, preset.recipe))
    row: dict[str, Any] = {"host": name, "length_ang": hop.length_ang, "atoms": len(first)}
    started = time.process_time()
    cheap = run_neb(first, last, potential, replace(settings, max_force_calls=2000))
    row["potential"] = {"barrier_ev": cheap.barrier_ev, "cpu_s": time.process_time() - started}
    for start, guess in (("idpp", None), ("warm", cheap.images)):
        row[start] = band(first, last, preset.make_engine("Li"), settings, guess)
    return row


def band(
    first: Atoms, last: Atoms, engine: Engine, settings: NebSettings, guess: list[Atoms] | None
) -> dict[str, Any]:
    """One DFT band and its bill."""
    steps: list[NebStep] = []
    started = time.process_time()
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = run_neb(
                first, last, engine, settings,
                guess=guess, folder=Path(folder), progress=steps.append,
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
        "| host | hop (Å) | atoms | barrier (eV) | calls of the ends | band from IDPP | "
        "band from the potential | saved | potential's band (CPU s) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        idpp, warm = row["idpp"], row["warm"]
        head = f"| {row['host']} | {row['length_ang']:.2f} | {row['atoms']} | "
        if "failed" in idpp or "failed" in warm:
            why = f"{idpp.get('failed', 'done')}; {warm.get('failed', 'done')}"
            lines.append(f"{head}{why} | | | | | |")
            continue
        lines.append(
            f"{head}{idpp['barrier_ev']:.3f}, {warm['barrier_ev']:.3f} | {idpp['ends']} | "
            f"{idpp['band']} | {warm['band']} | {1 - warm['band'] / idpp['band']:.0%} | "
            f"{row['potential']['cpu_s']:.1f} |"
        )
    both = [row for row in rows if "band" in row["idpp"] and "band" in row["warm"]]
    if both:
        idpp, warm = (sum(row[start]["band"] for row in both) for start in ("idpp", "warm"))
        lines.append(f"| all | | | | | {idpp} | {warm} | {1 - warm / idpp:.0%} | |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
