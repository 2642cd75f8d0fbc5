"""Command line of the distillation: ``python -m workflows.distill STEP``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from workflows.distill.label import label as label_seeds
from workflows.distill.seeds import Seed, band_seeds, bulk_seeds, catalogue_seeds

app = typer.Typer(help="Remake the shipped mini MACE potential.", no_args_is_help=True)


@app.callback()
def main(verbose: bool = True) -> None:
    """Set up logging."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(message)s")


@app.command()
def label(
    out: Annotated[Path, typer.Argument(help="extended-XYZ file to append to")],
    bands: Annotated[Path, typer.Option(help="literature bands, JSON lines")],
    bulk: Annotated[Path, typer.Option(help="bulk crystals, JSON lines")],
    minutes: float = 25,
    seed: int = 0,
) -> None:
    """Label band images, hosts and crystals with CHGNet for at most MINUTES."""
    rng = np.random.default_rng(seed)
    seeds: list[Seed] = [
        *band_seeds(bands, rng),
        *bulk_seeds(bulk, rng),
        *catalogue_seeds(rng),
    ]
    # Sources in fixed shares, so that a budget cut short still covers all of them.
    shares = {"band": 0.5, "bulk": 0.35, "catalogue": 0.15}
    atoms = {s: sum(len(x.atoms) for x in seeds if x.source == s) for s in shares}
    logging.info("seeds: %d, atoms by source: %s", len(seeds), atoms)
    keys = rng.random(len(seeds))
    rank = sorted(range(len(seeds)), key=lambda i: keys[i])
    progress = dict.fromkeys(shares, 0.0)
    queue: list[tuple[float, int]] = []
    for index in rank:
        source = seeds[index].source
        progress[source] += len(seeds[index].atoms) / shares[source]
        queue.append((progress[source], index))
    label_seeds((seeds[i] for _, i in sorted(queue)), out, budget_s=60 * minutes)


@app.command()
def train(
    labels: Annotated[list[Path], typer.Argument(help="extended-XYZ files of labels")],
    out: Annotated[Path, typer.Option(help="folder for weights and checkpoint")],
    minutes: float = 90,
) -> None:
    """Train on the labels for MINUTES in all; the same command goes on where it stopped."""
    from workflows.distill.train import train as train_student

    train_student(labels, out, minutes=minutes)


@app.command()
def validate(
    bands: Annotated[Path, typer.Argument(help="literature bands, JSON lines")],
    out: Annotated[Path, typer.Option(help="JSON lines to append to; hops in it are skipped")],
    model: Annotated[str, typer.Option(help="mini, chgnet, or a folder")] = "mini",
    max_atoms: int = 60,
    hops: int = 20,
    hosts: Annotated[str, typer.Option(help="held-out, seen or all")] = "held-out",
    fmax: Annotated[float, typer.Option(help="largest force at convergence (eV/Å)")] = 0.05,
    max_force_calls: int = 600,
    per_host: Annotated[int, typer.Option(help="at most so many of one framework")] = 2,
    per_class: Annotated[int, typer.Option(help="at most so many of one structure class")] = 8,
    minutes: float = 30,
) -> None:
    """Run bands of literature hops with a potential, the cheapest first."""
    from itertools import islice

    from workflows.distill.validate import literature_hops
    from workflows.distill.validate import validate as run
    from workflows.engines import get_potential
    from workflows.neb import NebSettings

    held_out = {"held-out": True, "seen": False, "all": None}[hosts]
    records = literature_hops(
        bands, max_atoms=max_atoms, held_out=held_out, per_host=per_host, per_class=per_class
    )
    run(
        islice(records, hops),
        get_potential(model),
        out,
        NebSettings(fmax_ev_ang=fmax, max_force_calls=max_force_calls),
        minutes=minutes,
    )


@app.command()
def report(
    rows: Annotated[list[Path], typer.Argument(help="results of validate, JSON lines")],
    bands: Annotated[Path, typer.Option(help="literature bands, JSON lines")],
) -> None:
    """Print figures and outliers of bands beside the literature, as Markdown.

    The shipped band model stands beside them, by the folds that have not seen the host.
    """
    from em_model.data import read_bands, require_barriers
    from em_model.ensemble import out_of_fold
    from em_model.predictor import BandModel
    from workflows.distill.report import report as written
    from workflows.distill.seeds import read_jsonl

    found = [row for path in rows for row in read_jsonl(path)]
    known = read_bands(bands, need_barrier=True)
    guessed, _, _ = out_of_fold(BandModel.load("default"), known)
    systems = [band.system for band in known]
    literature, unseen = (
        dict(zip(systems, values.tolist(), strict=True))
        for values in (require_barriers(known), guessed)
    )
    typer.echo(written(found, literature, unseen))


@app.command()
def calibrate(
    rows: Annotated[Path, typer.Argument(help="results of validate for one potential")],
    bands: Annotated[Path, typer.Option(help="literature bands, JSON lines")],
    card: Annotated[Path, typer.Option(help="card.json to update or write")],
) -> None:
    """Put the residuals of a potential's barriers, and its 90 % interval, into its card."""
    from workflows.distill.card import calibrated
    from workflows.distill.seeds import read_jsonl

    literature = {row["system"]: row["barrier_ev"] for row in read_jsonl(bands)}
    calibrated(card, list(read_jsonl(rows)), literature)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="folder of a training")],
    labels: Annotated[list[Path], typer.Option(help="extended-XYZ files of labels")],
    out: Annotated[Path, typer.Option(help="folder to ship")],
    validation: Annotated[list[Path] | None, typer.Option(help="results of validate")] = None,
) -> None:
    """Copy the weights where they ship from and write the model card."""
    from workflows.distill.card import export as export_student

    export_student(run, labels, validation or [], out, name=out.name)


if __name__ == "__main__":
    app()
