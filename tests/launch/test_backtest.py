"""hopscreen backtest on the literature barriers."""

from __future__ import annotations

import json

from launch.cli import run_command


def test_the_rule_of_the_screens_beats_the_others_on_the_literature_set(
    training_data, tmp_path, capfd
):
    assert run_command(["backtest", str(training_data), "--format", "json"]) == 0
    rows = {row["rule"]: row for row in json.loads(capfd.readouterr().out)}
    shares = {name: sum(row["found_at"].values()) for name, row in rows.items()}
    honest = {name: value for name, value in shares.items() if name != "perfect knowledge"}
    assert max(honest, key=honest.__getitem__) == "expected improvement over price"
    assert min(honest, key=honest.__getitem__) == "random"


def test_barriers_of_a_potential_stand_beside(training_data, tmp_path, capfd):
    import gzip

    with gzip.open(training_data, "rt") as lines:
        records = [json.loads(line) for line in lines][:60]
    barriers = tmp_path / "potential.jsonl"
    rows = [
        {
            "system": r["system"],
            "status": "done",
            "model": "soft",
            "barrier_ev": r["barrier_ev"] / 2,
        }
        for r in records
    ]
    barriers.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["backtest", str(training_data), "--mlip", str(barriers), "--out", str(tmp_path / "p")]
    assert run_command(words) == 0
    out, err = capfd.readouterr()
    assert "lowest soft barrier" in out
    assert (tmp_path / "p" / "backtest.svg").stat().st_size > 1000
    assert str(tmp_path / "p") in err + out


def test_a_file_without_barriers_is_refused(training_data, tmp_path, capfd):
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text('{"system": "a"}\n')
    assert run_command(["backtest", str(training_data), "--mlip", str(wrong)]) == 2
    err = capfd.readouterr().err.strip()
    assert "wrong.jsonl" in err
    assert "\n" not in err
