"""Bands of literature hops with student and teacher: what a barrier by the student is worth."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.geometry import find_mic

from workflows.distill.seeds import band_image, host_group, is_held_out, read_jsonl
from workflows.engines import Engine
from workflows.neb import NebFailure, NebSettings, images_for, run_neb
from workflows.neb_symmetry import find_swap

log = logging.getLogger(__name__)


def literature_hops(
    path: Path,
    *,
    max_atoms: int,
    held_out: bool | None,
    per_host: int = 2,
    per_class: int = 8,
    max_spacing_ang: float = 0.8,
) -> Iterator[dict[str, Any]]:
    """Bands of the literature set, cheapest first, a few of each host and structure class.

    What a band costs is known before it is run: atoms times geometries to relax, half of them
    where symmetry turns the hop round. Choosing by that alone looks at no barrier.

    Parameters
    ----------
    path
        JSON lines of literature bands.
    max_atoms
        Larger cells are left out.
    held_out
        Hosts that the student never saw (True), saw (False), or all (None).
    per_host, per_class
        At most so many of one framework, and of one structure class.
    max_spacing_ang
        As in :class:`workflows.neb.NebSettings`.
    """
    records = []
    for record in read_jsonl(path):
        # five band sites stand in the record, one ion in the cell
        if len(record["species"]) - 4 > max_atoms:
            continue
        initial, final = band_image(record, 0), band_image(record, 4)
        images = images_for(initial, final, max_spacing_ang)
        geometries = images // 2 + 2 if find_swap(initial, final) else images + 2
        records.append((geometries * len(initial), len(initial), record["system"], record))
    taken: Counter[str] = Counter()
    for *_, record in sorted(records, key=lambda item: item[:3]):
        sites = set(record["band_sites"])
        host = [s for i, s in enumerate(record["species"]) if i not in sites]
        group, kind = host_group(host, record["working_ion"]), record["structure_class"]
        if held_out is not None and is_held_out(group) != held_out:
            continue
        if taken[group] < per_host and taken[f"class {kind}"] < per_class:
            taken[group] += 1
            taken[f"class {kind}"] += 1
            yield {**record, "group": group, "held_out": is_held_out(group)}


def validate(
    records: Iterable[dict[str, Any]],
    engine: Engine,
    out: Path,
    settings: NebSettings,
    *,
    minutes: float,
) -> None:
    """Run bands and append one JSON line each to ``out``; hops already there are skipped."""
    torch.set_num_threads(1)
    identity = engine.identity()
    done = {(row["system"], row["sha256"]) for row in (read_jsonl(out) if out.is_file() else ())}
    started = time.monotonic()
    for record in records:
        if time.monotonic() - started > 60 * minutes:
            break
        if (record["system"], identity.sha256) in done:
            continue
        row: dict[str, Any] = {
            "system": record["system"],
            "group": record["group"],
            "held_out": record["held_out"],
            "structure_class": record["structure_class"],
            "num_atoms": len(record["species"]) - 4,
            "model": identity.name,
            "sha256": identity.sha256,
            "literature_ev": record["barrier_ev"],
        }
        wall, cpu = time.monotonic(), time.process_time()
        initial, final = band_image(record, 0), band_image(record, 4)
        try:
            result = run_neb(initial, final, engine, settings)
        except NebFailure as failure:
            row |= {"status": "failed", "kind": failure.kind, "message": str(failure)}
            row |= {"force_calls": failure.force_calls, "bracket_ev": failure.bracket_ev}
        else:
            row |= {
                "status": "done" if result.converged else "not converged",
                "barrier_ev": round(result.barrier_ev, 4),
                "forward_ev": round(result.forward_ev, 4),
                "backward_ev": round(result.backward_ev, 4),
                "span_ev": round(result.span_ev, 4),
                "fmax_ev_ang": round(result.fmax_ev_ang, 4),
                "force_calls": result.force_calls,
                "symmetric": result.symmetric,
                "energy_ev": result.profile.energy_ev,
                "host_moved_ang": round(moved(initial, result.images[0]), 3),
                "warnings": result.warnings,
            }
        row |= {"wall_s": round(time.monotonic() - wall, 1)}
        row |= {"cpu_s": round(time.process_time() - cpu, 1)}
        with out.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(row) + "\n")
        log.info("%s", row)


def moved(before: Atoms, after: Atoms) -> float:
    """Largest displacement of a host atom, in Å, without a common drift."""
    shift = find_mic(after.positions - before.positions, before.cell, before.pbc)[0][1:]
    return float(np.linalg.norm(shift - shift.mean(axis=0), axis=1).max())


def residuals(rows: list[dict[str, Any]], reference: dict[str, float]) -> dict[str, Any]:
    """Errors of converged barriers against ``reference`` (system → eV).

    Returns
    -------
    dict
        Count, MAE, median absolute error, mean error and the 90 % quantile of the absolute
        error, in eV, the conformal one of rank ⌈0.9 (n + 1)⌉ of n; and what has to be added to a
        barrier for its 90 % interval, 5 % of the reference values beyond either end.
    """
    errors = np.array(
        [
            row["barrier_ev"] - reference[row["system"]]
            for row in rows
            if row["status"] == "done" and row["system"] in reference
        ]
    )
    if not len(errors):
        return {"n": 0}
    size = np.sort(np.abs(errors))
    missing = np.sort(-errors)
    tail = max(0, int(0.05 * (len(errors) + 1)) - 1)
    rank = min(len(size), int(np.ceil(0.9 * (len(size) + 1))))
    return {
        "n": len(errors),
        "mae_ev": round(float(size.mean()), 4),
        "median_ev": round(float(np.median(size)), 4),
        "bias_ev": round(float(errors.mean()), 4),
        "quantile_90_ev": round(float(size[rank - 1]), 4),
        "interval_90_ev": [
            round(min(0.0, float(missing[tail])), 4),
            round(max(0.0, float(missing[-1 - tail])), 4),
        ],
    }
