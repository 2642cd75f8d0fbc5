"""``hopscreen em``: train, measure and use the band model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from launch import em_paper_commands
from launch.em_report import evaluation
from launch.output import Format, print_json, print_rich, print_text, quiet, say, table

if TYPE_CHECKING:
    from em_model.data import Band

em_app = typer.Typer(
    name="em",
    help="The band model: migration barriers from unrelaxed bands, with intervals.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

Data = Annotated[
    Path,
    typer.Argument(metavar="DATA", help="Bands: JSON lines, .jsonl[.gz], or the authors' .json."),
]
Model = Annotated[str, typer.Option(help="A model's name (`em list`) or folder.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Bands in memory at a time.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda …")]
FormatOption = Annotated[Format, typer.Option("--format")]


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

        bands = _read(data, need_barrier=True)
        learned = None if training is None else _read(training)
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

        bands = _read(data)
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


@em_app.command()
def pretrain(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Bulk properties, .jsonl[.gz].")],
    out: Annotated[Path, typer.Option(help="Folder for encoder and checkpoints.")],
    recipe: Annotated[str, typer.Option(help="A shipped recipe's name or a .yaml.")] = "pretrain",
    device: Device = "auto",
) -> None:
    """Pre-train the encoder on bulk properties; the same command goes on after a crash.

    ```
    hopscreen em pretrain bulk_properties.jsonl.gz --out pretrained
    ```
    """
    with quiet():
        from em_model.pretraining import PretrainRecipe
        from em_model.pretraining import pretrain as run
        from em_model.recipes import load_recipe

        settings = load_recipe(recipe, PretrainRecipe, "pretrain")
        result = run(data, settings, out, device=device, log=say)
    print_json(result)


@em_app.command()
def finetune(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder of the new model; its last part names it.")],
    encoder: Annotated[
        str,
        typer.Option(
            help="encoder.safetensors of `em pretrain`, a model whose trunk to take, none."
        ),
    ] = "default",
    recipe: Annotated[str, typer.Option(help="A shipped recipe's name or a .yaml.")] = "finetune",
    store: Annotated[
        str | None, typer.Option(help="A screen's store whose DFT-NEB results join DATA.")
    ] = None,
    store_weight: Annotated[float, typer.Option(min=0.0, help="Weight of each of these.")] = 1.0,
    source: Annotated[str, typer.Option(help="Words for the model card about the data.")] = "",
    device: Device = "auto",
    format_: FormatOption = Format.TABLE,
) -> None:
    r"""Train, cross-validate by host and calibrate a model; goes on after a crash.

    With `--store`, what DFT-NEB found in a screen joins the training data. Give the new model a
    folder of its own; shipped models are never overwritten.

    ```
    hopscreen em finetune em_barriers_train.jsonl.gz --encoder pretrained/encoder.safetensors \
        --out models/mine
    hopscreen em evaluate test.jsonl.gz --model models/mine
    ```
    """
    with quiet():
        from hashlib import sha256

        from em_model.ensemble import ModelRecipe, build_model, card_text
        from em_model.recipes import load_recipe
        from launch.em_store import store_bands

        bands = _read(data, need_barrier=True)
        added = store_bands(store, weight=store_weight) if store else []
        model = build_model(
            [*bands, *added],
            load_recipe(recipe, ModelRecipe, "finetune"),
            out,
            name=out.resolve().name,
            encoder=_encoder(encoder),
            data={
                "file": data.name,
                "sha256": sha256(data.read_bytes()).hexdigest(),
                "source": source or data.name,
                "from_store": len(added),
                "commands": [_command_line(data, out, encoder, recipe)],
            },
            device=device,
            log=say,
        )
        text = card_text(model)
        say(_beside_default(model.card["cross_validation"]))
    if format_ is Format.JSON:
        print_json(model.card["cross_validation"])
        return
    print_text(text)


em_paper_commands.add_to(em_app)


def _beside_default(measured: dict[str, Any]) -> str:
    """Say whether cross-validation improved on the shipped model."""
    from em_model.predictor import find_model, read_card

    shipped = read_card(find_model("default"))["cross_validation"]
    verdict = "better than" if measured["mae_ev"] < shipped["mae_ev"] else "no better than"
    return (
        f"cross-validated by host: {measured['mae_ev']:.3f} eV on {measured['n']} bands, {verdict} "
        f"the shipped model's {shipped['mae_ev']:.3f} eV on {shipped['n']}"
    )


def _encoder(words: str) -> Path | None:
    """File with the pre-trained trunk."""
    from em_model.predictor import WEIGHTS, find_model

    if words == "none":
        return None
    path = Path(words)
    return path if path.suffix == ".safetensors" else find_model(path) / WEIGHTS


def _command_line(data: Path, out: Path, encoder: str, recipe: str) -> str:
    # Names alone: where the files lay on this machine is nobody's concern.
    words = ["hopscreen em finetune", data.name]
    words.append("--encoder " + "/".join(Path(encoder).parts[-2:]))
    shown = Path(recipe).name
    return " ".join([*words, f"--recipe {shown}", f"--out models/{out.resolve().name}"])


def _read(data: Path, *, need_barrier: bool = False) -> list[Band]:
    import torch

    from em_model.data import read_bands

    # Two threads on two busy cores are slower than one, many times.
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)
    return read_bands(data, need_barrier=need_barrier)


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
