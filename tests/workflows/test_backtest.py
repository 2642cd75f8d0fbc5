import numpy as np
import pytest

from workflows.backtest import BUDGETS, Paths, backtest, found, orders

RNG = np.random.default_rng(3)
N = 120


def make_paths(noise: float) -> Paths:
    known = RNG.gamma(2.0, 0.4, N)
    predicted = np.maximum(known + noise * RNG.normal(size=N), 0.01)
    half = 1.645 * max(noise, 1e-3)
    interval = np.stack([np.maximum(predicted - half, 0), predicted + half], axis=1)
    cost = RNG.uniform(1, 30, N)
    hosts = [f"host {i // 2}" for i in range(N)]
    return Paths(hosts, known, predicted, interval, cost, {"chgnet": known + 0.05})


def test_found_counts_each_best_material_once_when_its_proof_is_paid_for():
    paths = Paths(
        hosts=["a", "a", "b", "c"],
        known_ev=np.array([0.3, 0.1, 0.2, 0.9]),
        predicted_ev=np.zeros(4),
        interval_90_ev=np.zeros((4, 2)),
        cost=np.ones(4),
        other_ev={},
    )
    # The best two of three materials are a (by its second path) and b.
    curve = found(paths, np.array([0, 2, 1, 3]), share=0.6)
    assert curve.tolist() == [0.0, 0.5, 1.0, 1.0]


def test_every_rule_orders_all_paths_once_and_ends_with_everything_found():
    paths = make_paths(0.3)
    for name, order in orders(paths).items():
        assert sorted(order.tolist()) == list(range(N)), name
    for row in backtest(paths):
        assert row["found"][-1] == pytest.approx(1.0)
        assert 0 < row["spent_for_90"] <= 1
        shares = list(row["found_at"].values())
        assert shares == sorted(shares)


def test_a_good_model_spends_less_than_a_poor_one_and_both_less_than_chance():
    spent = {}
    for noise in (0.02, 0.5):
        rows = {row["rule"]: row["found_at"] for row in backtest(make_paths(noise))}
        spent[noise] = np.mean(list(rows["lowest estimate"].values()))
        assert spent[noise] > np.mean(list(rows["random"].values()))
        assert rows["perfect knowledge"][BUDGETS[-1]] == 1.0
    assert spent[0.02] > spent[0.5]


def test_the_same_seed_gives_the_same_figures():
    paths = make_paths(0.3)
    first, again = backtest(paths, seed=1), backtest(paths, seed=1)
    assert [r["found_at"] for r in first] == [r["found_at"] for r in again]
