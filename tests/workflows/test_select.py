import numpy as np
import pytest
from scipy.stats import norm

from workflows.select import KnownHop, expected_improvement, network_hops, select_hops

# A square lattice of one site: steps along a and along b, and a dead-end pair of sites 1–2.
A_STEP = ((0, 0, 1, 0, 0),)
B_STEP = ((0, 0, 0, 1, 0),)
DEAD_END = ((1, 2, 0, 0, 0),)


def hop(name, edges, barrier, width=0.1, **more):
    return KnownHop(name, edges, barrier, (barrier - width, barrier + width), **more)


MATERIAL = [hop("a", A_STEP, 0.3), hop("b", B_STEP, 0.5), hop("dead", DEAD_END, 0.05)]


def test_the_network_leaves_out_hops_that_do_not_help_to_percolate():
    assert [h.hop_id for h in network_hops(MATERIAL, 1)] == ["a"]
    assert [h.hop_id for h in network_hops(MATERIAL, 2)] == ["b", "a"]
    assert network_hops(MATERIAL, 3) == []


def test_a_cheap_hop_made_needless_by_a_later_one_is_left_out():
    # The chain 0–1–0' needs both its hops; the direct step that comes later needs neither.
    chain = [hop("in", ((0, 1, 0, 0, 0),), 0.1), hop("out", ((1, 0, 1, 0, 0),), 0.4)]
    assert [h.hop_id for h in network_hops(chain, 1)] == ["out", "in"]
    short = [chain[0], hop("direct", A_STEP, 0.2)]
    assert [h.hop_id for h in network_hops(short, 1)] == ["direct"]


def test_materials_come_in_the_order_of_what_they_promise():
    sure = [hop("sure", A_STEP, 0.30, width=0.02)]
    unsure = [hop("unsure", A_STEP, 0.32, width=0.30)]
    hopeless = [hop("hopeless", A_STEP, 1.00, width=0.30)]
    materials = [hopeless, sure, unsure]
    assert select_hops(materials, dimension=1, top=3).hop_ids == ("unsure", "sure", "hopeless")
    by_estimate = select_hops(materials, dimension=1, top=3, rule="estimate")
    assert by_estimate.hop_ids == ("sure", "unsure", "hopeless")


def test_of_two_alike_the_cheaper_comes_first():
    dear = [hop("a", A_STEP, 0.30, cost=8.0)]
    cheap = [hop("b", A_STEP, 0.30, cost=1.0)]
    assert select_hops([dear, cheap], dimension=1, top=1).hop_ids == ("b",)


def test_expected_improvement_of_a_normal_belief_is_the_closed_form():
    mean, sigma, threshold = 0.9, 0.1, 0.85
    half = norm.ppf(0.95) * sigma
    found = expected_improvement(
        np.array([mean]), np.array([mean - half]), np.array([mean + half]), threshold
    )
    u = (threshold - mean) / sigma
    known = (threshold - mean) * norm.cdf(u) + sigma * norm.pdf(u)
    assert found[0] == pytest.approx(known, abs=1e-3)


def test_no_material_no_choice():
    assert select_hops([], dimension=1, top=5).hop_ids == ()
    assert select_hops([[MATERIAL[2]]], dimension=1, top=5).num_off_network == 1


def test_the_budget_counts_what_was_tried_and_skips_what_does_not_fit():
    materials = [[hop(name, A_STEP, 0.1 * place)] for place, name in enumerate("wxyz", 1)]
    materials[0] = [hop("w", A_STEP, 0.1, tried=True)]
    selection = select_hops(materials, dimension=1, top=2, fits=lambda hop_id: hop_id != "x")
    assert selection.hop_ids == ("y",)
    assert (selection.num_tried, selection.num_too_large, selection.num_over_budget) == (1, 1, 1)


def test_the_order_of_the_materials_does_not_matter():
    materials = [[hop(name, A_STEP, 0.2)] for name in "cab"]
    first = select_hops(materials, dimension=1, top=2)
    assert first == select_hops(materials[::-1], dimension=1, top=2)
    assert first.hop_ids == ("a", "b")
