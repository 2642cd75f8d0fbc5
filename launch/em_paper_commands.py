"""``em import`` and ``em compare``: the paper's models beside ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from launch.em_report import report
from launch.output import Format, print_json, print_rich, print_text, quiet, say


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
    data: Annotated[
        Path, typer.Argument(help="The training bands, .jsonl[.gz] or the authors' .json.")
    ],
    model: Annotated[str, typer.Option(help="Model to compare the others with.")] = "default",
    results: Annotated[
        Path | None,
        typer.Option(help="Folder of cross-validations (crossval-*.json); the shipped ones."),
    ] = None,
    threshold: Annotated[float, typer.Option(min=0.0, help="Largest good barrier, eV.")] = 0.65,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for parity plots, learning curves, calibration, models.md."),
    ] = None,
    format_: Annotated[Format, typer.Option("--format")] = Format.TABLE,
) -> None:
    """Compare all models under the same folds, beside the published figures.

    Every prediction is by a model that has not seen the band's host, unless a table says
    otherwise.

    ```
    hopscreen em compare em_barriers_train.jsonl.gz --out plots
    ```
    """
    with quiet():
        from em_model.data import read_bands
        from em_model.paper import compare as comparison
        from em_model.paper.plots import plots
        from em_model.predictor import BandModel

        bands = read_bands(data, need_barrier=True)
        found = [
            comparison.model_result(BandModel.load(model), bands),
            *comparison.read_results(results or comparison.SHIPPED, bands),
        ]
        rows = comparison.rank(found, bands, threshold)
        written = plots(found, out) if out is not None else []
    if format_ is Format.JSON:
        print_json(rows)
        return
    sections = report(rows)
    for section in sections:
        print_rich(section.as_table(), section.note)
    if out is not None:
        page = out / "models.md"
        page.write_text("\n".join(section.as_markdown() for section in sections), encoding="utf-8")
        written.append(page)
    for path in written:
        say(str(path))
