"""Export a trained student with its card: what it is, what it was trained on, how far it errs."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ase.data import chemical_symbols

from stores.hashing import file_sha256
from workflows.distill.seeds import read_jsonl
from workflows.distill.train import evaluate, read_frames, to_data
from workflows.distill.validate import residuals
from workflows.engines.mace import load_shipped, read_config
from workflows.levels import PUBLISHED_HALF_WIDTH_90_EV

ENOUGH_HOPS = 20
"""Literature hops from which a 90 % quantile is believed; with fewer, the published residual of
a far better potential is the least that is assumed."""


def export(run: Path, labels: list[Path], validation: list[Path], out: Path, name: str) -> None:
    """Copy configuration and weights to ``out`` and write ``card.json`` and ``card.md``.

    Parameters
    ----------
    run
        Folder of a training.
    labels
        Labelled frames, split by host as in training.
    validation
        JSON lines of :func:`workflows.distill.validate.validate`, student and teacher.
    """
    out.mkdir(parents=True, exist_ok=True)
    for file in ("config.json", "model.safetensors"):
        shutil.copyfile(run / file, out / file)
    config = read_config(out)
    model = load_shipped(out)
    numbers = config["atomic_numbers"]
    train, held_out = read_frames(labels)
    held_out = [frame for frame in held_out if set(frame.numbers) <= set(numbers)]
    errors = {
        source: evaluate(
            model,
            [to_data(f, numbers) for f in held_out if f.info["source"] == source],
        )
        for source in sorted({frame.info["source"] for frame in held_out})
    }
    errors["all"] = evaluate(model, [to_data(frame, numbers) for frame in held_out])
    sha256 = file_sha256(out / "model.safetensors")
    rows = [row for path in validation for row in read_jsonl(path)]
    student = [row for row in rows if row["sha256"] == sha256]
    teacher = {
        row["system"]: row["barrier_ev"]
        for row in rows
        if row["model"].startswith("chgnet") and row["status"] == "done"
    }
    literature = {row["system"]: row["literature_ev"] for row in rows}
    unseen = [row for row in student if row["held_out"]]
    against_literature = residuals(student, literature)
    card: dict[str, Any] = {
        "name": name,
        "sha256": sha256,
        "kind": "ScaleShiftMACE, distilled from CHGNet 0.3.0",
        "purpose": "demonstrations, tests and rough barriers without a download",
        "elements": [chemical_symbols[z] for z in numbers],
        "parameters": sum(p.numel() for p in model.parameters()),
        "architecture": {k: v for k, v in config.items() if k != "atomic_numbers"},
        "training": {
            "frames": len(train),
            "atoms": sum(map(len, train)),
            "hosts": len({str(frame.info["group"]) for frame in train}),
            "held_out_frames": len(held_out),
            "held_out_hosts": len({str(frame.info["group"]) for frame in held_out}),
            "minutes_on_one_shared_core": round(json.loads(
                (run / "progress.json").read_text(encoding="utf-8"))["elapsed_s"] / 60, 1),
        },
        "force_and_energy_errors_on_held_out_hosts": errors,
        "barriers": {
            "against_chgnet_on_held_out_hosts": residuals(unseen, teacher),
            "against_literature": against_literature,
            "against_literature_on_held_out_hosts": residuals(unseen, literature),
            "teacher_against_literature": residuals(
                [row for row in rows if row["model"].startswith("chgnet")], literature
            ),
            "attempted": len(student),
            "failed_or_not_converged": sum(row["status"] != "done" for row in student),
        },
        "barrier_interval_90_ev": interval(against_literature),
        "versions": {p: version(p) for p in ("mace-torch", "torch", "chgnet")},
        "remade_by": "python -m workflows.distill label | train | validate | export",
        "licence": "MIT; the teacher is CHGNet (modified BSD), trained on the Materials "
        "Project's trajectories (CC BY 4.0)",
    }  # fmt: skip
    (out / "card.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    (out / "card.md").write_text(markdown(card), encoding="utf-8")


def calibrated(
    path: Path, rows: list[dict[str, Any]], literature: dict[str, float]
) -> dict[str, Any]:
    """Update the card at ``path`` with residuals against the literature, or begin one.

    Parameters
    ----------
    path
        ``card.json``; a full card gets its ``card.md`` written anew.
    rows
        Of one model, as :func:`workflows.distill.validate.validate` writes them.
    literature
        Barriers in eV by system.
    """
    card: dict[str, Any] = {"name": rows[0]["model"], "barriers": {}}
    if path.is_file():
        card = json.loads(path.read_text(encoding="utf-8"))
    card["sha256"] = rows[0]["sha256"]
    against = residuals(rows, literature)
    card["barriers"] |= {
        "against_literature": against,
        "attempted": len(rows),
        "failed_or_not_converged": sum(row["status"] != "done" for row in rows),
    }
    card["barrier_interval_90_ev"] = interval(against)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    if "training" in card:
        path.with_suffix(".md").write_text(markdown(card), encoding="utf-8")
    return card


def interval(errors: dict[str, Any]) -> list[float]:
    """What to add to a barrier of the student for the ends of its 90 % interval, eV."""
    if errors["n"] >= ENOUGH_HOPS:
        return [float(end) for end in errors["interval_90_ev"]]
    half_width = max(errors.get("quantile_90_ev", 0.0), PUBLISHED_HALF_WIDTH_90_EV["mlip"][0])
    return [-half_width, half_width]


def markdown(card: dict[str, Any]) -> str:
    """Return the card for people."""
    errors, barriers = card["force_and_energy_errors_on_held_out_hosts"], card["barriers"]
    training = card["training"]
    lines = [
        f"# {card['name']}: a small MACE potential",
        "",
        f"{card['kind']}. For {card['purpose']}; not for numbers to publish: take a foundation "
        "model for those.",
        "",
        f"- {card['parameters']:,} parameters, cutoff {card['architecture']['r_max']} Å, "
        f"{len(card['elements'])} elements: {' '.join(card['elements'])}.",
        f"- Trained on {training['frames']:,} frames ({training['atoms']:,} atoms) of "
        f"{training['hosts']:,} hosts for {training['minutes_on_one_shared_core']} minutes of one "
        "shared core; "
        f"{training['held_out_frames']:,} frames of {training['held_out_hosts']:,} other hosts "
        "were held out.",
        f"- Remade by `{card['remade_by']}`.",
        f"- {card['licence']}.",
        "",
        "## Errors against CHGNet on held-out hosts",
        "",
        "| source | frames | force MAE (eV/Å) | rms of labels (eV/Å) | energy MAE (eV/atom) |",
        "|---|---|---|---|---|",
    ]
    for source, e in errors.items():
        lines.append(
            f"| {source} | {e['frames']} | {e['force_mae_ev_ang']:.3f} | "
            f"{e['force_rms_label_ev_ang']:.3f} | {e['energy_mae_ev_atom']:.4f} |"
        )
    lines += [
        "",
        "## Barriers, same driver for both potentials",
        "",
        "| compared | hops | MAE (eV) | median (eV) | bias (eV) | 90 % within (eV) |",
        "|---|---|---|---|---|---|",
    ]
    for name, r in barriers.items():
        if isinstance(r, dict) and r.get("n"):
            lines.append(
                f"| {name.replace('_', ' ')} | {r['n']} | {r['mae_ev']:.3f} | "
                f"{r['median_ev']:.3f} | {r['bias_ev']:+.3f} | {r['quantile_90_ev']:.3f} |"
            )
    lines += [
        "",
        f"Of {barriers['attempted']} hops {barriers['failed_or_not_converged']} failed or did not "
        "converge. To the 90 % interval of an `mlip` estimate by this model it is added: "
        "{:+.2f} and {:+.2f} eV.".format(*card["barrier_interval_90_ev"]),
        "",
    ]
    return "\n".join(lines)
