"""Bands of literature hops with student and teacher: what a barrier by the student is worth."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workflows.distill.seeds import band_image, host_group, is_held_out, read_jsonl
from workflows.engines import Engine
from workflows.neb import NebFailure, NebSettings, run_neb

log = logging.getLogger(__name__)


def literature_hops(
    path: Path, *, max_atoms: int, held_out: bool | None, per_host: int = 2
) -> Iterator[dict[str, Any]]:
    """Bands of the literature set, smallest first, at most ``per_host`` of one host.

    ``held_out`` chooses hosts that the student never saw (True), saw (False), or all (None).
    """
    taken: dict[str, int] = {}
    for record in sorted(read_jsonl(path), key=lambda r: (len(r["species"]), r["id"])):
        # five band sites stand in the record, one ion in the cell
        if len(record["species"]) - 4 > max_atoms:
            continue
        sites = set(record["band_sites"])
        host = [s for i, s in enumerate(record["species"]) if i not in sites]
        group = host_group(host, record["working_ion"])
        if held_out is not None and is_held_out(group) != held_out:
            continue
        taken[group] = taken.get(group, 0) + 1
        if taken[group] <= per_host:
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
            "num_atoms": len(record["species"]) - 4,
            "model": identity.name,
            "sha256": identity.sha256,
            "literature_ev": record["barrier_ev"],
        }
        wall, cpu = time.monotonic(), time.process_time()
        try:
            result = run_neb(band_image(record, 0), band_image(record, 4), engine, settings)
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
            }
        row |= {"wall_s": round(time.monotonic() - wall, 1)}
        row |= {"cpu_s": round(time.process_time() - cpu, 1)}
        with out.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(row) + "\n")
        log.info("%s", row)


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
