"""``em pretrain`` and ``em finetune``: make band models, from literature and from a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from launch.output import Format, print_json, print_text, quiet, say

if TYPE_CHECKING:
    from em_model.data import Band
    from em_model.predictor import BandModel

Data = Annotated[
    Path,
    typer.Argument(metavar="DATA", help="Bands: JSON lines, .jsonl[.gz], or the authors' .json."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda …")]
FormatOption = Annotated[Format, typer.Option("--format")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(pretrain)
    app.command()(finetune)


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


def finetune(
    data: Data,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the new model; its last part names it. Left out: the next free "
            "BASE-vN among the user's models (`em list`)."
        ),
    ] = None,
    base: Annotated[
        str, typer.Option(help="Model to go on from: its trunk is taken, its error beaten or not.")
    ] = "default",
    encoder: Annotated[
        str | None,
        typer.Option(
            help="encoder.safetensors of `em pretrain`, a model whose trunk to take, none; "
            "left out: that of the base."
        ),
    ] = None,
    recipe: Annotated[str, typer.Option(help="A shipped recipe's name or a .yaml.")] = "finetune",
    store: Annotated[
        str | None, typer.Option(help="A screen's store whose DFT-NEB results join DATA.")
    ] = None,
    store_weight: Annotated[float, typer.Option(min=0.0, help="Weight of each of these.")] = 1.0,
    with_demo: Annotated[
        bool,
        typer.Option(
            "--with-demo", help="Take results labelled demo too: to see it work, not to be right."
        ),
    ] = False,
    source: Annotated[str, typer.Option(help="Words for the model card about the data.")] = "",
    device: Device = "auto",
    format_: FormatOption = Format.TABLE,
) -> None:
    r"""Train, cross-validate by host and calibrate a model, in about a minute.

    With `--store`, what DFT-NEB found in a screen joins the training data, and the last lines
    say whether that made the error on unseen hosts smaller than the base's. Shipped models are
    never overwritten.

    ```
    hopscreen em finetune em_barriers_train.jsonl.gz --store screen_li.store
    hopscreen em predict bands.jsonl --model default-v2
    ```
    """
    with quiet():
        from hashlib import sha256

        from em_model.data import assign_hosts
        from em_model.ensemble import ModelRecipe, build_model, card_text
        from em_model.predictor import BandModel
        from em_model.recipes import load_recipe
        from launch.em_store import store_bands

        settings = load_recipe(recipe, ModelRecipe, "finetune")
        known = read_data(data, need_barrier=True)
        added = store_bands(store, weight=store_weight, demo=with_demo) if store else []
        parent = BandModel.load(base, device)
        folder, version = (out, None) if out else _next_version(parent.name)
        digest = sha256(data.read_bytes()).hexdigest()
        model = build_model(
            assign_hosts([*known, *added]),
            settings,
            folder,
            name=folder.resolve().name,
            encoder=_encoder(encoder or base),
            data={
                "file": data.name,
                "sha256": digest,
                "source": source or data.name,
                "from_store": len(added),
                "store_weight": store_weight if added else None,
                "parent": {"name": parent.name, "sha256": parent.sha256},
                "version": version,
                "commands": [_command_line(data, folder, encoder or base, recipe)],
            },
            device=device,
            log=say,
        )
        text = card_text(model)
        about = parent.card.get("data", {})
        same = about.get("sha256") == digest and about.get("bands") == len(known)
        verdict = _verdict(model, parent, known, added, same_data=same)
    for line in verdict["lines"]:
        say(line)
    say(f"{folder}: use it with --model {model.name if version else folder}")
    if format_ is Format.JSON:
        print_json(
            {
                **model.card["cross_validation"],
                "model": model.name,
                "folder": str(folder),
                "beside_base": {k: v for k, v in verdict.items() if k != "lines"},
            }
        )
        return
    print_text(text)


def read_data(data: Path, *, need_barrier: bool = False) -> list[Band]:
    """Read bands, on one thread from here on."""
    import torch

    from em_model.data import read_bands

    # Two threads on two busy cores are slower than one, many times.
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)
    return read_bands(data, need_barrier=need_barrier)


def _verdict(
    model: BandModel,
    parent: BandModel,
    known: list[Band],
    added: list[Band],
    *,
    same_data: bool,
) -> dict[str, Any]:
    """Errors of the new model beside the base's on the same bands, hosts unseen by either.

    The base can only be asked so about the bands that it was trained on. Of the store's it has
    seen none: its plain predictions count there.
    """
    import numpy as np

    from em_model.data import assign_hosts, require_barriers
    from em_model.ensemble import out_of_fold

    bands = assign_hosts([*known, *added])
    ours = np.abs(out_of_fold(model, bands)[0] - require_barriers(bands))
    before, after, lines = None, float(ours[: len(known)].mean()), []
    if same_data:
        theirs = np.abs(out_of_fold(parent, known)[0] - require_barriers(known))
        before = float(theirs.mean())
        word = "improved" if after < before else "did not improve"
        lines.append(
            f"cross-validation {word}: {after:.4f} eV by host on the {len(known)} bands of DATA, "
            f"{parent.name} {before:.4f} eV"
        )
    else:
        shipped = parent.card["cross_validation"]
        lines.append(
            f"cross-validated by host: {after:.4f} eV on {len(known)} bands; {parent.name} has "
            f"{shipped['mae_ev']:.4f} eV on its own {shipped['n']}, so the two do not compare"
        )
    found: dict[str, Any] = {
        "base": parent.name,
        "bands": len(known),
        "mae_ev": after,
        "base_mae_ev": before,
        "improved": None if before is None else after < before,
        "store": None,
    }
    if added:
        plain = np.array([p.barrier_ev for p in parent.predict(added)])
        was = float(np.abs(plain - require_barriers(added)).mean())
        now = float(ours[len(known) :].mean())
        found["store"] = {"bands": len(added), "mae_ev": now, "base_mae_ev": was}
        lines.append(
            f"on the {len(added)} bands of the store: {now:.4f} eV by models that have not seen "
            f"their hosts, {parent.name} {was:.4f} eV"
        )
    return {**found, "lines": lines}


def _next_version(base: str) -> tuple[Path, int]:
    """Folder of the next free ``BASE-vN`` among the user's models, and N; the base is v1.

    A folder without a card is a run that was cut short: it is taken up again.
    """
    import re

    from em_model.predictor import CARD, known_models, user_models

    stem = re.sub(r"-v\d+$", "", base)
    number = 2
    while (
        f"{stem}-v{number}" in known_models()
        or (user_models() / f"{stem}-v{number}" / CARD).exists()
    ):
        number += 1
    return user_models() / f"{stem}-v{number}", number


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
