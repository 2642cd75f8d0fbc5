"""Train and cross-validate: ``python -m em_model.paper pretrain|train --help``."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from em_model import classical
from em_model.data import read_bands, read_crystals
from em_model.errors import BadInput
from em_model.paper import refit
from em_model.paper.family import NAMES, SIZES
from em_model.paper.training import (
    FINE_TUNING,
    PRETRAINING,
    cross_validate,
    pretrain,
    result_suffix,
)


def main(arguments: list[str] | None = None) -> int:
    """Run one of the two commands; 0 when done, 2 on bad input."""
    parser = argparse.ArgumentParser(prog="python -m em_model.paper", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for command, what in (("pretrain", "bulk properties"), ("train", "bands with barriers")):
        sub = commands.add_parser(command)
        sub.add_argument("data", type=Path, help=f"{what}, .jsonl or .jsonl.gz")
        sub.add_argument("--out", type=Path, required=True, help="folder for states and results")
        sub.add_argument("--size", choices=SIZES, default="small")
        sub.add_argument("--epochs", type=int, default=None)
        sub.add_argument("--seed", type=int, default=0)
        sub.add_argument("--threads", type=int, default=1)
        sub.add_argument("--device", default="auto", help="auto, cpu, cuda …")
    names = ", ".join([*NAMES, *classical.MODELS])
    sub.add_argument("--model", required=True, help=f"{names}; or a model of ours, to make again")
    sub.add_argument("--trunk", type=Path, help="trunk.safetensors made by pretrain")
    sub.add_argument("--folds", type=int, default=5)
    sub.add_argument("--split", choices=("hosts", "paths"), default="hosts")
    sub.add_argument("--only", type=int, nargs="*", help="folds to train, default all")
    sub.add_argument("--records", type=int, help="training bands a fold (learning curve)")
    commands.choices["pretrain"].add_argument("--max-atoms", type=int, default=40)
    asked = parser.parse_args(arguments)

    torch.set_num_threads(asked.threads)
    schedule = PRETRAINING if asked.command == "pretrain" else FINE_TUNING
    if asked.epochs is not None:
        schedule = replace(schedule, epochs=asked.epochs)
    try:
        if asked.command == "pretrain":
            crystals = read_crystals(asked.data, max_atoms=asked.max_atoms)
            pretrain(
                crystals,
                asked.size,
                asked.out,
                schedule=schedule,
                seed=asked.seed,
                device=asked.device,
                log=_log,
            )
        else:
            bands = read_bands(asked.data, need_barrier=True)
            common = {
                "split": asked.split,
                "folds": asked.folds,
                "only": asked.only,
                "records": asked.records,
                "seed": asked.seed,
            }
            if asked.model in classical.MODELS:
                result = classical.cross_validate(asked.model, bands, **common)
            elif asked.model in NAMES:
                result = cross_validate(
                    asked.model,
                    bands,
                    asked.out,
                    size=asked.size,
                    trunk=asked.trunk,
                    schedule=schedule,
                    device=asked.device,
                    log=_log,
                    **common,
                )
            else:
                result = refit.cross_validate(asked.model, bands, asked.out, log=_log, **common)
            asked.out.mkdir(parents=True, exist_ok=True)
            text = json.dumps(result, indent=1) + "\n"
            stem = asked.model + result_suffix(asked.split, asked.records)
            if asked.epochs is not None:
                stem += f"-e{asked.epochs}"
            (asked.out / f"crossval-{stem}.json").write_text(text)
    except BadInput as error:
        _log(str(error))
        return 2
    return 0


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
