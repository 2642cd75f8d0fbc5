"""``em import`` and ``em compare``: the paper's models beside ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from launch.output import Format, print_json, print_rich, print_text, quiet, say, table


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("import")(import_model)
    app.command()(compare)


def import_model(
    checkpoint: Annotated[
        Path, typer.Argument(help="best_model.pt.bz2 of the authors' MODEL-3, or the .pt in it.")
    ],
    name: Annotated[str, typer.Option(help="Name to call the model by.")],
    scale: Annotated[
        str,
        typer.Option(
            metavar="none|train|MEAN,STD,MIN,MAX",
            help="How barriers became targets in training: none gives the raw output; train "
            "takes the 559 published training barriers; MEAN,STD in eV, MIN,MAX standardised.",
        ),
    ] = "train",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an imported model of this name.")
    ] = False,
) -> None:
    """Turn one of the authors' MODEL-3 checkpoints into a model that predicts without DGL.

    It goes to `$HOPSCREEN_MODELS`, or to the user's data folder, never over a shipped model.

    ```
    hopscreen em import best_model.pt.bz2 --name published
    hopscreen em predict bands.jsonl --model published
    ```
    """
    with quiet():
        from em_model.paper.checkpoint import import_checkpoint

        folder = import_checkpoint(checkpoint, name, scale, overwrite=overwrite)
    print_text(str(folder))


def compare(
    data: Annotated[Path, typer.Argument(help="The training bands, .jsonl or .jsonl.gz.")],
    model: Annotated[str, typer.Option(help="Model to compare the others with.")] = "default",
    results: Annotated[
        Path | None,
        typer.Option(help="Folder of cross-validations (crossval-*.json); the shipped ones."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for parity plots, learning curve, calibration.")
    ] = None,
    format_: Annotated[Format, typer.Option("--format")] = Format.TABLE,
) -> None:
    """Compare all models under the same host-grouped folds, beside the published figures.

    ```
    hopscreen em compare em_barriers_train.jsonl.gz --out plots
    ```
    """
    with quiet():
        from em_model.data import read_bands
        from em_model.paper import compare as comparison
        from em_model.predictor import BandModel

        bands = read_bands(data, need_barrier=True)
        found = [
            comparison.model_result(BandModel.load(model), bands),
            *comparison.read_results(results or comparison.SHIPPED, bands),
        ]
        rows = comparison.rank(found)
        written = comparison.plots(found, out) if out is not None else []
    if format_ is Format.JSON:
        print_json(rows)
        return
    measured: dict[str, list[str]] = {}
    for row in rows:
        measured.setdefault(row["split"], []).append(row["model"])
    notes = [f"{', '.join(names)}: {split}" for split, names in measured.items()]
    print_rich(_comparison_table(rows), *notes)
    for path in written:
        say(str(path))


def _comparison_table(rows: list[dict[str, Any]]) -> Any:
    shown = table(
        "model", "bands", "MAE (eV)", "R²", "good/bad", "in 90 % interval", left=("model",)
    )
    for row in rows:
        coverage = row.get("interval_coverage_90")
        shown.add_row(
            row["model"],
            str(row["n"]),
            f"{row['mae_ev']:.3f} ± {row['mae_se_ev']:.3f}",
            f"{row['r2']:.3f} ± {row['r2_se']:.3f}",
            f"{row['good_accuracy']:.1%}",
            "" if coverage is None else f"{coverage:.1%}",
        )
    return shown
