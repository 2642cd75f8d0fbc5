"""``hopscreen em``: train, measure and use the band model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from launch import em_paper_commands, em_training_commands
from launch.em_report import evaluation
from launch.em_training_commands import Data, Device, FormatOption, read_data
from launch.output import Format, print_json, print_rich, quiet, table

em_app = typer.Typer(
    name="em",
    help="The band model: migration barriers from unrelaxed bands, with intervals.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

Model = Annotated[str, typer.Option(help="A model's name (`em list`) or folder.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Bands in memory at a time.")]


@em_app.command()
def evaluate(
    data: Data,
    model: Model = "default",
    threshold: Annotated[float, typer.Option(min=0.0, help="Largest good barrier, eV.")] = 0.65,
    training: Annotated[
        Path | None,
        typer.Option(help="What the model learned from: adds errors by scenario (known host …)."),
    ] = None,
    batch_size: BatchSize = 64,
    device: Device = "auto",
    format_: FormatOption = Format.TABLE,
) -> None:
    """Compare predictions with the barriers in DATA.

    ```
    hopscreen em evaluate test.jsonl.gz --model default --format json
    ```
    """
    with quiet():
        from em_model.evaluate import evaluate as measure
        from em_model.registry import open_model

        bands = read_data(data, need_barrier=True)
        learned = None if training is None else read_data(training)
        found = open_model(model, device)
        with _counted(len(bands)) as progress:
            result = measure(
                found,
                bands,
                training=learned,
                threshold_ev=threshold,
                batch_size=batch_size,
                progress=progress,
            )
    if format_ is Format.JSON:
        print_json(result)
        return
    shown = table("figure", "value", left=("figure",))
    for key, value in result.items():
        if isinstance(value, float | int | str):
            shown.add_row(key, f"{value:.3f}" if isinstance(value, float) else str(value))
    print_rich(shown, *(section.as_table() for section in evaluation(result)))


@em_app.command()
def predict(
    data: Data,
    model: Model = "default",
    batch_size: BatchSize = 64,
    device: Device = "auto",
    format_: FormatOption = Format.TABLE,
) -> None:
    """Predict the barrier of every band in DATA; known barriers are not looked at.

    ```
    hopscreen em predict bands.jsonl --format json
    ```
    """
    with quiet():
        from em_model.registry import open_model

        bands = read_data(data)
        found = open_model(model, device)
        with _counted(len(bands)) as progress:
            predictions = found.predict(bands, batch_size, progress)
    rows = [
        {
            "id": p.id,
            "barrier_ev": p.barrier_ev,
            "interval_90_ev": None if p.interval_90_ev is None else list(p.interval_90_ev),
            "in_domain": p.in_domain,
        }
        for p in predictions
    ]
    if format_ is Format.JSON:
        print_json(rows)
        return
    shown = table("id", "barrier (eV)", "90 % interval (eV)", "", left=("id", ""))
    for p in predictions:
        low_high = p.interval_90_ev
        shown.add_row(
            p.id,
            f"{p.barrier_ev:.3f}",
            "" if low_high is None else f"{low_high[0]:.2f} – {low_high[1]:.2f}",
            "" if p.in_domain else "unlike the training set",
        )
    print_rich(shown)


@em_app.command("list")
def list_models(format_: FormatOption = Format.TABLE) -> None:
    """List the models that `--model` takes by name."""
    with quiet():
        from em_model.registry import describe_models

        rows = describe_models()
    if format_ is Format.JSON:
        print_json(rows)
        return
    shown = table("name", "kind", "trained on", "CV MAE (eV)", "CV R²", left=("name", "kind"))
    for row in rows:
        shown.add_row(
            row["name"],
            row["kind"],
            *("" if row[k] is None else str(row[k]) for k in ("bands",)),
            *("" if row[k] is None else f"{row[k]:.3f}" for k in ("cv_mae_ev", "cv_r2")),
        )
    print_rich(shown)


em_training_commands.add_to(em_app)
em_paper_commands.add_to(em_app)


@contextmanager
def _counted(total: int) -> Iterator[Callable[[int], None]]:
    """Show progress over ``total`` bands; yields ``report(done)``."""
    from workflows.progress import Progress

    done = 0
    with Progress("em").track(total, "bands") as step:

        def report(now: int) -> None:
            nonlocal done
            step(now - done)
            done = now

        yield report
