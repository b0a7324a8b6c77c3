"""Episodes: a pure function of (seed, episode), without replacement, and the same queries whatever the shots."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data.counter import mix
from tutelage.data.episodes import EpisodeSampler, EpisodeShape
from tutelage.errors import ConfigError

# Classes of 9, 20, 12, 15 and 30 images, shuffled.
LABELS = torch.tensor([0] * 9 + [1] * 20 + [2] * 12 + [3] * 15 + [4] * 30)[torch.arange(86) * 37 % 86]
SMALL = EpisodeShape(ways=3, shots=2, queries=4)


def sampler(shape=SMALL, **settings):
    return EpisodeSampler(LABELS, shape, **{"seed": 0, **settings})


def test_an_episode_is_the_same_in_whatever_company_it_is_drawn():
    whole = sampler().draw(0, 20)
    torch.manual_seed(99)
    for number in (0, 7, 19):
        for part, alone in zip(whole, sampler().draw(number, 1), strict=True):
            assert torch.equal(part[number], alone[0])
    parts = list(sampler().blocks(20, size=6))
    assert [len(part.classes) for part in parts] == [6, 6, 6, 2]
    assert torch.equal(torch.cat([part.query for part in parts]), whole.query)


def by_loops(seed, episode, shape, classes):
    """The definition in plain Python: sort by random bits, queries first."""

    def bits(*counters):
        state = mix(seed)
        for counter in counters:
            state = mix(state ^ counter)
        return state - (1 << 64) if state >= 1 << 63 else state

    ways = sorted(classes, key=lambda label: bits(0x77617973, episode, label))[: shape.ways]
    decks = []
    for label in ways:
        members = [row for row in range(len(LABELS)) if LABELS[row] == label]
        decks.append(sorted(members, key=lambda row: bits(0x73686F7473, episode, row)))
    support = [deck[shape.queries : shape.images] for deck in decks]
    return ways, support, [deck[: shape.queries] for deck in decks]


@pytest.mark.parametrize("classes", [None, (4, 0, 1)])
def test_it_is_the_definition_in_plain_python(classes):
    drawn = sampler(classes=classes, seed=5).draw(0, 8)
    for episode in range(8):
        ways, support, query = by_loops(5, episode, SMALL, classes or range(5))
        assert drawn.classes[episode].tolist() == ways
        assert drawn.support[episode].tolist() == support
        assert drawn.query[episode].tolist() == query


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**9), ways=st.integers(2, 5), shots=st.integers(1, 5), queries=st.integers(1, 4))
def test_classes_and_images_are_drawn_without_replacement_and_images_have_the_class(seed, ways, shots, queries):
    drawn = sampler(EpisodeShape(ways=ways, shots=shots, queries=queries), seed=seed).draw(3, 6)
    for classes, support, query in zip(*drawn, strict=True):
        assert len(set(classes.tolist())) == ways
        rows = torch.cat([support, query], 1)
        assert rows.unique().numel() == ways * (shots + queries)
        assert torch.equal(LABELS[rows], classes.unsqueeze(1).expand_as(rows))


def test_more_shots_keep_the_classes_the_queries_and_the_support():
    one, five = (sampler(EpisodeShape(ways=3, shots=shots, queries=4)).draw(0, 10) for shots in (1, 5))
    assert torch.equal(one.classes, five.classes)
    assert torch.equal(one.query, five.query)
    assert torch.equal(one.support, five.support[..., :1])


def test_the_order_of_the_class_list_does_not_count():
    first, second = (sampler(classes=classes).draw(0, 10) for classes in ((1, 2, 3, 4), (4, 3, 2, 1)))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_other_seeds_and_episodes_are_others_and_every_class_and_image_has_its_turn():
    drawn = sampler().draw(0, 2000)
    assert not torch.equal(sampler(seed=1).draw(0, 5).query, drawn.query[:5])
    shares = drawn.classes.flatten().bincount() / 6000
    assert shares.tolist() == pytest.approx([0.2] * 5, abs=0.02)
    uses = drawn.query[drawn.classes == 2].flatten().bincount(minlength=86)[LABELS == 2]
    assert (uses / uses.sum()).tolist() == pytest.approx([1 / 12] * 12, abs=0.015)


class TestMessages:
    def test_more_images_than_a_class_has_names_the_class_and_both_numbers(self):
        with pytest.raises(
            ConfigError, match="50 shots and 15 queries needs 65 images of a class, but class 'ant' has 9"
        ):
            sampler(EpisodeShape(shots=50), names=("ant", "bee", "cow", "dog", "elk"))
        with pytest.raises(ConfigError, match="needs 10 images of a class, but class 0 has 9: use fewer shots"):
            sampler(EpisodeShape(shots=6, queries=4))
        assert sampler(EpisodeShape(shots=5, queries=4)).draw(0, 1).support.shape == (1, 5, 5)

    def test_a_listed_class_without_images_is_named(self):
        with pytest.raises(ConfigError, match="class 7 has 0"):
            sampler(classes=(1, 2, 7))

    def test_more_ways_than_classes_and_a_class_twice_are_refused(self):
        with pytest.raises(ConfigError, match="5 ways needs at least as many classes, there are 2"):
            sampler(EpisodeShape(queries=1), classes=(1, 2))
        with pytest.raises(ConfigError, match="class 2 is listed twice"):
            sampler(classes=(1, 2, 2))

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"ways": 1}, "at least 2 ways, got 1"),
            ({"shots": 0}, "at least 1 shot and 1 query of a class, got 0 and 15"),
            ({"queries": 0}, "got 1 and 0"),
        ],
    )
    def test_an_empty_episode_is_refused(self, settings, message):
        with pytest.raises(ConfigError, match=message):
            EpisodeShape(**settings)
