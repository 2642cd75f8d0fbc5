"""An epoch of pre-training beside alignn's own training loop, on the same crystals.

Both on one thread, width, depth and batch alike, graphs made first and timed apart; alignn runs
its pure-torch model, so that it needs no DGL, and validates on 32 further crystals after each
epoch, which its loop cannot leave out. CPU seconds.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse  # noqa: E402
import contextlib  # noqa: E402
import io  # noqa: E402
import json  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402

from em_model.data import PROPERTIES, Crystal, read_crystals  # noqa: E402
from em_model.graphs import GraphSettings, collate, crystal_graph  # noqa: E402
from em_model.network import NetworkSettings, PropertyNetwork  # noqa: E402
from em_model.training import Schedule, train  # noqa: E402

BATCH = 32
ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("HOPSCREEN_SHARED", ROOT.parent / "shared"))
DATA = SHARED / "data" / "bulk_properties.jsonl.gz"


def ours(crystals: list[Crystal], precision: str) -> tuple[float, float]:
    """CPU seconds for all graphs, and for an epoch."""
    start = time.process_time()
    graphs = [crystal_graph(c, GraphSettings()) for c in crystals]
    made = time.process_time() - start
    column = torch.tensor([PROPERTIES.index(c.property) for c in crystals])
    value = torch.tensor([c.value for c in crystals], dtype=torch.float32)

    def loss(net: torch.nn.Module, indices: np.ndarray, step: int) -> torch.Tensor:
        out = net(collate([graphs[i] for i in indices])).float()
        known = out.gather(1, column[indices][:, None]).squeeze(1)
        return (known - value[indices]).abs().mean()

    model = PropertyNetwork(NetworkSettings(), len(PROPERTIES))
    schedule = Schedule(epochs=1, batch_size=BATCH, precision=precision)
    start = time.process_time()
    train(model, len(crystals), loss, schedule, seed=0, device=torch.device("cpu"))
    return made, time.process_time() - start


def alignn(crystals: list[Crystal], further: list[Crystal], epochs: int) -> tuple[float, float]:
    """The same with alignn's loaders and ``train_dgl``: 12 neighbours, angles within 3.5 Å."""
    from alignn.config import TrainingConfig
    from alignn.data import get_train_val_loaders
    from alignn.train import train_dgl
    from jarvis.core.atoms import Atoms

    settings = NetworkSettings()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as quiet:
        quiet.enter_context(contextlib.redirect_stdout(io.StringIO()))
        quiet.enter_context(contextlib.redirect_stderr(io.StringIO()))
        config = TrainingConfig(
            atom_features="cgcnn",
            neighbor_strategy="pure_torch",
            cutoff=8.0,
            max_neighbors=12,
            batch_size=BATCH,
            epochs=epochs,
            num_workers=0,
            n_train=len(crystals),
            n_val=BATCH,
            n_test=BATCH,
            write_predictions=False,
            output_dir=folder,
            filename=str(Path(folder) / "cache"),
            use_lmdb=True,
            model={
                "name": "alignn_atomwise_pure",
                "alignn_layers": settings.alignn_layers,
                "gcn_layers": settings.gcn_layers,
                "hidden_features": settings.hidden,
                "atom_input_features": 92,
                "calculate_gradient": False,
                "gradwise_weight": 0.0,
                "atomwise_weight": 0.0,
                "stresswise_weight": 0.0,
            },
        )
        records = [
            {
                "jid": f"{i}-{c.id}",
                "target": c.value,
                "atoms": Atoms(c.lattice, c.frac_coords, list(c.species)).to_dict(),
            }
            for i, c in enumerate([*crystals, *further])
        ]
        start = time.process_time()
        loaders = get_train_val_loaders(
            dataset_array=records,
            target="target",
            n_train=config.n_train,
            n_val=config.n_val,
            n_test=config.n_test,
            train_ratio=None,
            val_ratio=None,
            test_ratio=None,
            batch_size=BATCH,
            atom_features=config.atom_features,
            neighbor_strategy=config.neighbor_strategy,
            standardize=False,
            line_graph=True,
            id_tag="jid",
            pin_memory=False,
            workers=0,
            save_dataloader=False,
            use_canonize=True,
            filename=config.filename,
            cutoff=config.cutoff,
            max_neighbors=config.max_neighbors,
            three_body_cutoff=config.three_body_cutoff,
            output_features=1,
            classification_threshold=None,
            target_multiplication_factor=None,
            standard_scalar_and_pca=False,
            keep_data_order=True,
            output_dir=folder,
            use_lmdb=True,
            use_pure_torch=True,
            dtype="float32",
        )
        made = time.process_time() - start
        start = time.process_time()
        train_dgl(config, train_val_test_loaders=list(loaders))
        return made, (time.process_time() - start) / epochs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "data", type=Path, nargs="?", default=DATA, help="bulk properties, .jsonl.gz"
    )
    parser.add_argument("--crystals", type=int, default=512)
    parser.add_argument("--format", choices=("table", "json"), default="table")
    asked = parser.parse_args()
    if not asked.data.exists():
        print(f"skipped: {asked.data} is not there; name a file of bulk properties")
        return
    torch.set_num_threads(1)
    known = read_crystals(asked.data, max_atoms=40)
    chosen = np.random.default_rng(0).permutation(len(known))
    crystals = [known[i] for i in chosen[: asked.crystals]]
    further = [known[i] for i in chosen[-2 * BATCH :]]
    rows = {
        "alignn, pure torch": alignn(crystals, further, 2),
        "ours, float32": ours(crystals, "float32"),
        "ours, bfloat16": ours(crystals, "bfloat16"),
    }
    slow = sum(rows["alignn, pure torch"])
    report = {
        name: {"graphs_s": g, "epoch_s": e, "times_faster": slow / (g + e)}
        for name, (g, e) in rows.items()
    }
    if asked.format == "json":
        print(json.dumps(report, indent=1))
        return
    print(f"{len(crystals)} crystals of at most 40 atoms, one thread")
    for name, row in report.items():
        print(
            f"{name:20} graphs {row['graphs_s']:7.2f} s, epoch {row['epoch_s']:7.2f} s, "
            f"{row['times_faster']:.1f} times"
        )


if __name__ == "__main__":
    main()
