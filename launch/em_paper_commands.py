"""``hopscreen em import`` and ``hopscreen em compare``."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from em_model.data import read_bands
from em_model.paper import compare as comparison
from em_model.paper.checkpoint import import_checkpoint


class Format(StrEnum):
    """How to print."""

    table = "table"
    json = "json"


def import_model(
    checkpoint: Annotated[
        Path, typer.Argument(help="best_model.pt.bz2 of the authors' MODEL-3, or the .pt in it")
    ],
    name: Annotated[str, typer.Option(help="name to call the model by")],
    scale: Annotated[
        str,
        typer.Option(
            help="how the barriers were scaled in training: none (raw output), train (the 559 "
            "published training barriers), or MEAN,STD,MIN,MAX (eV, eV, standardised)"
        ),
    ] = "train",
    overwrite: Annotated[bool, typer.Option(help="replace an imported model of this name")] = False,
) -> None:
    """Turn one of the authors' MODEL-3 checkpoints into a model that predicts without DGL."""
    folder = import_checkpoint(checkpoint, name, scale, overwrite=overwrite)
    typer.echo(str(folder))


def compare(
    data: Annotated[Path, typer.Argument(help="bands with barriers, .jsonl or .jsonl.gz")],
    results: Annotated[Path, typer.Option(help="folder of cross-validation results")],
    out: Annotated[Path | None, typer.Option(help="folder for the plots; none without it")] = None,
    output: Annotated[Format, typer.Option("--format", help="table or json")] = Format.table,
) -> None:
    """Table of all models under the same folds beside the published figures, and plots."""
    found = comparison.read_results(results, read_bands(data, need_barrier=True))
    rows = comparison.table(found)
    written = comparison.plots(found, out) if out is not None else []
    if output is Format.json:
        typer.echo(json.dumps(rows, indent=1))
        return
    typer.echo(f"{'model':24}{'n':>5}{'MAE eV':>16}{'R²':>16}{'good/bad':>10}  on")
    for row in rows:
        mae = f"{row['mae_ev']:.3f} ± {row['mae_se_ev']:.3f}"
        r2 = f"{row['r2']:.3f} ± {row['r2_se']:.3f}"
        typer.echo(
            f"{row['model']:24}{row['n']:5d}{mae:>16}{r2:>16}{row['good_accuracy']:10.0%}"
            f"  {row['split']}"
        )
    for path in written:
        typer.echo(str(path), err=True)
