"""``hopscreen backtest``: what a rule of selection saves, on known barriers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from launch.output import Format, print_json, print_rich, quiet, say, table

if TYPE_CHECKING:
    from em_model.data import Band
    from workflows.backtest import Paths


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(backtest)


def backtest(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="The model's training bands, .jsonl[.gz].")
    ],
    model: Annotated[str, typer.Option(help="Model whose cross-validation to use.")] = "default",
    share: Annotated[
        float, typer.Option(min=0.01, max=0.5, help="Share of the materials to be found.")
    ] = 0.1,
    mlip: Annotated[
        Path | None,
        typer.Option(help="Barriers by a potential (`python -m workflows.distill validate`)."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the plot.")] = None,
    format_: Annotated[Format, typer.Option("--format")] = Format.TABLE,
) -> None:
    """Say how much DFT each rule of selection spends until the best materials are found.

    Literature barriers stand in for DFT; each path is judged by the fold of the model that has
    not seen its host; a calculation costs as its atoms to the power 2.5. With `--mlip` only the
    paths that have such a barrier count.

    ```
    hopscreen backtest em_barriers_train.jsonl.gz --out plots
    ```
    """
    with quiet():
        from em_model.data import read_bands
        from workflows.backtest import backtest as measure

        bands = read_bands(data, need_barrier=True)
        paths = _paths(bands, model, mlip)
        rows = measure(paths, share=share)
        plot = _plot(rows, out) if out is not None else None
    if format_ is Format.JSON:
        print_json([{k: r[k] for k in ("rule", "found_at", "spent_for_90")} for r in rows])
        return
    hosts = len(set(paths.hosts))
    budgets = list(rows[0]["found_at"])
    shown = table("rule", *(f"{b:.0%}" for b in budgets), "90 % found at", left=("rule",))
    for row in sorted(rows, key=lambda r: -sum(r["found_at"].values())):
        cells = [f"{row['found_at'][b]:.0%}" for b in budgets]
        shown.add_row(row["rule"], *cells, f"{row['spent_for_90']:.0%}")
    print_rich(
        shown,
        f"share of the best {share:.0%} of {hosts} materials found within a share of the cost "
        f"of all {len(paths.known_ev)} DFT-NEBs",
    )
    if plot is not None:
        say(str(plot))


def _paths(bands: list[Band], model: str, mlip: Path | None) -> Paths:
    """Put together what the rules know: out-of-fold predictions, costs, barriers of ``mlip``."""
    import numpy as np

    from em_model.data import assign_hosts, require_barriers
    from em_model.ensemble import out_of_fold
    from em_model.predictor import BandModel
    from workflows.backtest import Paths
    from workflows.stages.selection import COST_POWER

    name, barriers = _mlip_barriers(mlip) if mlip else ("", {})
    values, intervals, _ = out_of_fold(BandModel.load(model), bands)
    kept = [i for i, band in enumerate(bands) if not mlip or band.system in barriers]
    hosts = assign_hosts(bands)
    return Paths(
        hosts=[str(hosts[i].host) for i in kept],
        known_ev=require_barriers(bands)[kept],
        predicted_ev=values[kept],
        interval_90_ev=intervals[kept],
        cost=np.array([float(len(bands[i].species) - 4) for i in kept]) ** COST_POWER["dft"],
        other_ev={name: np.array([barriers[bands[i].system] for i in kept])} if mlip else {},
    )


def _mlip_barriers(path: Path) -> tuple[str, dict[str, float]]:
    """Return the potential's name and its converged barriers (eV) by system."""
    from stores.errors import BadInput

    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows: list[dict[str, Any]] = [json.loads(line) for line in lines if line.strip()]
        done = {r["system"]: float(r["barrier_ev"]) for r in rows if r["status"] == "done"}
        return rows[0]["model"], done
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise BadInput(
            f"{path}: not barriers by a potential ({' '.join(str(error).split())}); "
            "make them with python -m workflows.distill validate"
        ) from None


def _plot(rows: list[dict[str, Any]], folder: Path) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 5.0), layout="constrained")
    axes = figure.subplots()
    for row in rows:
        dashed = row["rule"] in ("random", "perfect knowledge")
        axes.step(
            row["spent"],
            row["found"],
            where="post",
            label=row["rule"],
            color={"random": "0.6", "perfect knowledge": "0.3"}.get(row["rule"]),
            linestyle="--" if dashed else "-",
        )
    axes.set(
        xscale="log",
        xlim=(1e-3, 1),
        ylim=(0, 1.02),
        xlabel="share of the cost of all DFT-NEBs",
        ylabel="share of the best materials found",
    )
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "backtest.svg"
    figure.savefig(path, metadata={"Date": None})
    return path
