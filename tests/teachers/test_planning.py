"""Planners: nested, repeatable, balanced, and never worse than twice the best cover.

Letters: none.
"""

import math
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import ConfigError, DataError, ShapeError
from tutelage.teachers import balanced_plan, k_centre_plan, random_plan

IDS = torch.arange(1000, 1060)
LABELS = torch.tensor([0] * 30 + [1] * 15 + [2] * 10 + [7] * 5)
FEATURES = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))

PLANS = {
    "balanced": lambda count, seed=0: balanced_plan(IDS, LABELS, count, seed=seed),
    "k_centre": lambda count, seed=0: k_centre_plan(IDS, FEATURES, count, seed=seed),
    "random": lambda count, seed=0: random_plan(IDS, count, seed=seed),
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
class TestEveryPlan:
    def test_the_plan_for_a_smaller_budget_is_the_beginning_of_that_for_a_larger(self, plan):
        whole = plan(60)
        for count in range(1, 60):
            assert torch.equal(plan(count), whole[:count])

    def test_no_sample_is_bought_twice_and_all_are_bought_in_the_end(self, plan):
        assert sorted(plan(60).tolist()) == IDS.tolist()

    def test_it_is_a_pure_function_of_the_seed(self, plan):
        first = plan(20, seed=3)
        torch.manual_seed(99)
        assert torch.equal(plan(20, seed=3), first)
        assert not torch.equal(plan(20, seed=4), first)

    @pytest.mark.parametrize("count", [0, -1, 61])
    def test_a_budget_that_cannot_be_spent_is_refused(self, plan, count):
        with pytest.raises(ConfigError, match=f"a plan for {count} calls needs from 1 to 60"):
            plan(count)


def test_the_order_of_the_rows_does_not_change_a_plan():
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    assert torch.equal(random_plan(IDS[order], 20, seed=0), PLANS["random"](20))
    assert torch.equal(balanced_plan(IDS[order], LABELS[order], 20, seed=0), PLANS["balanced"](20))
    assert torch.equal(k_centre_plan(IDS[order], FEATURES[order], 20, seed=0), PLANS["k_centre"](20))


def test_a_random_plan_is_uniform():
    counts = torch.zeros(60)
    for seed in range(1000):
        counts[random_plan(IDS, 15, seed=seed) - 1000] += 1
    z = (counts - 250) / math.sqrt(1000 * 0.25 * 0.75)
    assert z.abs().max() < 4.5  # of 60 binomials


class TestBalanced:
    @given(st.lists(st.integers(1, 12), min_size=2, max_size=6), st.data())
    def test_counts_differ_by_at_most_one_while_classes_last(self, sizes, data):
        labels = torch.repeat_interleave(torch.arange(len(sizes)) * 3, torch.tensor(sizes))
        count = data.draw(st.integers(1, len(labels)))
        bought = balanced_plan(torch.arange(len(labels)), labels, count, seed=data.draw(st.integers(0, 1 << 40)))
        counts = labels[bought].bincount(minlength=3 * len(sizes))[::3].tolist()
        most = max(counts)
        assert all(most - 1 <= have or have == size for have, size in zip(counts, sizes, strict=True))

    def test_a_round_has_every_class_once(self):
        labels = LABELS[PLANS["balanced"](20) - 1000]
        assert all(sorted(turn) == [0, 1, 2, 7] for turn in labels.view(5, 4).tolist())

    def test_chance_decides_which_class_comes_first_not_its_size(self):
        first = torch.tensor([int(LABELS[PLANS["balanced"](1, seed) - 1000]) for seed in range(1000)])
        for label in (0, 1, 2, 7):
            assert abs(int((first == label).sum()) - 250) < 4.5 * math.sqrt(1000 * 0.25 * 0.75)

    def test_chance_decides_which_sample_of_a_class_comes_first(self):
        uses = torch.zeros(60)
        for seed in range(1000):
            uses[PLANS["balanced"](4, seed) - 1000] += 1
        assert uses[30:45].sum() == 1000
        assert (uses[30:45] - 1000 / 15).abs().max() < 4.5 * math.sqrt(1000 / 15)


def _radius(features, chosen):
    """The largest distance of a row from its nearest chosen one."""
    return float(torch.cdist(features, features[list(chosen)]).min(1).values.max())


class TestKCentre:
    @pytest.mark.parametrize("seed", range(20))
    def test_its_cover_is_at_most_twice_as_wide_as_the_best(self, seed):
        features = torch.randn(10, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        for count in (1, 2, 3, 4):
            chosen = k_centre_plan(torch.arange(10), features, count, seed=seed).tolist()
            best = min(_radius(features, choice) for choice in combinations(range(10), count))
            assert _radius(features, chosen) <= 2 * best + 1e-6

    def test_it_is_the_greedy_choice_of_the_definition(self):
        plan = [int(i) - 1000 for i in PLANS["k_centre"](30)]
        gaps = torch.cdist(FEATURES.double(), FEATURES.double())
        for step in range(1, 30):
            nearest = gaps[:, plan[:step]].min(1).values
            assert plan[step] == int(nearest.argmax())

    def test_the_seed_decides_which_comes_first_uniformly(self):
        firsts = torch.stack([PLANS["k_centre"](1, seed) for seed in range(1000)]).flatten() - 1000
        assert (firsts.bincount(minlength=60) - 1000 / 60).abs().max() < 5 * math.sqrt(1000 / 60)

    def test_ties_go_to_the_lowest_id(self):
        # The corners of a cube: after any corner the opposite one, then the other six are equally far.
        corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
        ids = torch.tensor([70, 30, 50, 20, 90, 10, 80, 60])
        plan = k_centre_plan(ids, corners, 3, seed=0).tolist()
        rest = set(ids.tolist()) - set(plan[:2])
        assert plan[2] == min(rest)

    def test_samples_that_coincide_are_bought_last_and_once_each(self):
        features = torch.zeros(6, 3)
        features[4] = 1.0
        plan = k_centre_plan(torch.arange(6), features, 6, seed=1).tolist()
        assert 4 in plan[:2]
        assert sorted(plan) == list(range(6))
        assert [i for i in plan[1:] if i != 4] == sorted(i for i in plan[1:] if i != 4)

    def test_an_offset_common_to_all_rows_does_not_change_the_plan(self):
        # Multiples of 1/64 below 8 stay what they are when 4096 is added. ‖x‖² − 2xy + ‖y‖² would lose them.
        features = (FEATURES * 64).round() / 64
        ours = k_centre_plan(IDS, features, 40, seed=0)
        assert torch.equal(k_centre_plan(IDS, features + 4096, 40, seed=0), ours)

    def test_pixels_may_be_bytes_and_the_features_stay_as_they_are(self):
        pixels = torch.randint(0, 256, (60, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
        numbers = pixels.float()
        plan = k_centre_plan(IDS, numbers, 30, seed=0)
        assert torch.equal(k_centre_plan(IDS, pixels, 30, seed=0), plan)
        assert torch.equal(numbers, pixels.float())

    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
    def test_features_that_are_no_numbers_are_refused(self, bad):
        features = FEATURES.clone()
        features[7, 2] = bad
        with pytest.raises(DataError, match="features must be finite numbers"):
            k_centre_plan(IDS, features, 3, seed=0)


def test_shapes_that_do_not_fit_are_refused(own_messages):
    with pytest.raises(ShapeError, match=r"one row of int64, \(n,\), got \(60, 1\) torch.int64"):
        random_plan(IDS[:, None], 3, seed=0)
    with pytest.raises(ShapeError, match=r"one row of int64, \(n,\), got \(60,\) torch.float32"):
        random_plan(IDS.float(), 3, seed=0)
    with pytest.raises(ShapeError, match=r"one label, \(60,\), got \(59,\)"):
        balanced_plan(IDS, LABELS[1:], 3, seed=0)
    with pytest.raises(ShapeError, match=r"one row an id, \(60, d\), got \(59, 4\)"):
        k_centre_plan(IDS, FEATURES[1:], 3, seed=0)
    with pytest.raises(ShapeError, match=r"one row an id, \(60, d\), got \(60, 2, 2\)"):
        k_centre_plan(IDS, FEATURES.view(60, 2, 2), 3, seed=0)


def test_plans_are_those_of_the_first_version():
    # Computed by tutelage 0.1.0, torch 2.13 on a CPU: a change makes bought answers useless.
    assert (PLANS["random"](5, 1) - 1000).tolist() == [13, 35, 45, 1, 9]
    assert (PLANS["balanced"](5, 1) - 1000).tolist() == [45, 55, 30, 28, 1]
    assert (PLANS["k_centre"](5, 1) - 1000).tolist() == [51, 14, 22, 25, 7]
