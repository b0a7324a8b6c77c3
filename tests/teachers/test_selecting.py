"""Teachers that are asked about another view than the student sees, or about some samples only."""

import pytest
import torch

from tutelage.data import CropFlip, ImageStore
from tutelage.errors import ConfigError
from tutelage.teachers import BudgetedTeacher, CachedTeacher, ChosenTeacher, FixedViewTeacher, Ledger, Teacher
from tutelage.types import Batch


@pytest.fixture
def store():
    pixels = torch.randint(256, (30, 8, 8, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ImageStore(pixels, torch.arange(30) % 5, "thirty")


@pytest.fixture
def shown(store):
    """Makes the batch that an epoch shows of some ids."""

    def make(ids, epoch=3, seed=0):
        ids = torch.as_tensor(ids)
        numbers = CropFlip(1, seed=seed).draw(ids, epoch=epoch)
        return Batch(CropFlip(1).render(store.images, ids, numbers), store.labels[ids], ids, numbers)

    return make


class Recording:
    """Wraps a counting teacher and keeps the batches it was sent."""

    def __init__(self, inner):
        self.labels, self.fingerprint, self.calls, self.shapes = inner.labels, inner.fingerprint, 0, inner.shapes
        self.inner, self.batches, self.compiled = inner, [], False

    def listen(self, roles):
        self.inner.listen(roles)

    def compile(self):
        self.compiled = True

    def __call__(self, batch):
        self.batches.append(batch)
        self.calls += len(batch.ids)
        return self.inner(batch)


@pytest.fixture
def recording(counting):
    return lambda **settings: Recording(counting(**settings))


class TestBoth:
    @pytest.fixture(params=["fixed", "chosen"])
    def wrapped(self, request, recording, store):
        inner = recording(taps=True)
        if request.param == "fixed":
            return FixedViewTeacher(inner, store, CropFlip(1)), inner
        teacher = ChosenTeacher(inner, 30)
        teacher.choose(torch.arange(30))
        return teacher, inner

    def test_they_are_teachers_and_hand_through_what_they_are_asked(self, wrapped, shown):
        teacher, inner = wrapped
        assert isinstance(teacher, Teacher)
        assert (teacher.labels, teacher.fingerprint, teacher.shapes) == (inner.labels, "counting", inner.shapes)
        teacher.compile()
        assert inner.compiled
        assert teacher(shown([1, 2])).taps.keys() == {"stage"}
        teacher.listen([])
        assert teacher(shown([1, 2])).taps == {}
        assert teacher.calls == 4
        teacher.calls = 7
        assert inner.calls == 7


class TestFixedView:
    def test_the_teacher_sees_one_view_of_an_image_in_every_epoch(self, recording, store, shown):
        inner = recording()
        teacher = FixedViewTeacher(inner, store, CropFlip(1, seed=5))
        answers = [teacher(shown(range(30), epoch)).logits for epoch in range(4)]
        assert all(torch.equal(answer, answers[0]) for answer in answers)
        assert len({tuple(batch.views.tolist()) for batch in inner.batches}) == 1

    def test_it_is_sent_the_pixels_that_id_and_view_name(self, recording, store, shown):
        inner = recording()
        FixedViewTeacher(inner, store, CropFlip(1, seed=5))(shown([4, 9, 4]))
        (sent,) = inner.batches
        assert torch.equal(sent.images, CropFlip(1).render(store.images, sent.ids, sent.views))
        assert sent.ids.tolist() == [4, 9, 4]
        assert torch.equal(sent.labels, store.labels[sent.ids])

    def test_the_seed_chooses_the_view_unless_it_is_the_plain_one(self, recording, store, shown):
        def numbers(seed, *, plain=False):
            inner = recording()
            FixedViewTeacher(inner, store, CropFlip(1, seed=seed), plain=plain)(shown(range(30)))
            return inner.batches[0].views

        chosen = [numbers(seed) for seed in (0, 1)]
        assert not torch.equal(*chosen)
        assert len(set(chosen[0].tolist())) > 5
        assert set(numbers(1, plain=True).tolist()) == {CropFlip(1).plain}

    def test_with_a_cache_an_image_is_one_call_however_long_it_is_trained_on(self, counting, make_store, store, shown):
        inner = counting()
        teacher = FixedViewTeacher(CachedTeacher(inner, make_store()), store, CropFlip(1))
        for epoch in range(5):
            teacher(shown(range(30), epoch))
        assert len(inner.sent) == len(set(inner.sent)) == 30

    def test_mixed_images_do_not_reach_the_teacher(self, recording, store, shown):
        """It is shown what the ids name, whatever the student sees."""
        inner, batch = recording(), shown([1, 2])
        FixedViewTeacher(inner, store, CropFlip(1))(batch._replace(images=batch.images.float() / 2))
        assert inner.batches[0].images.dtype == torch.uint8

    def test_what_is_unknown_inside_is_unknown_outside(self, counting, store, shown, tmp_path):
        inner = BudgetedTeacher(counting(), Ledger(tmp_path / "l"), budget=2, exhausted="skip")
        teacher = FixedViewTeacher(inner, store, CropFlip(1))
        assert teacher.partial
        assert teacher(shown([5, 6, 7])).known.tolist() == [True, True, False]


class TestChosen:
    def test_only_the_chosen_are_sent_and_answers_come_back_to_their_places(self, recording, shown, counting):
        inner = recording(taps=True)
        teacher = ChosenTeacher(inner, 30)
        teacher.choose(torch.tensor([9, 2, 4]))
        batch = shown([0, 4, 1, 9, 4, 29])
        answer = teacher(batch)
        assert answer.known.tolist() == [False, True, False, True, True, False]
        assert inner.batches[0].ids.tolist() == [4, 9, 4]
        direct = counting(taps=True)(batch)
        for ours, theirs in ((answer.logits, direct.logits), (answer.taps["stage"], direct.taps["stage"])):
            assert torch.equal(ours[answer.known], theirs[answer.known])
            assert not ours[~answer.known].any()

    def test_where_none_of_a_batch_was_chosen_the_teacher_is_not_asked(self, recording, shown):
        inner = recording(taps=True)
        teacher = ChosenTeacher(inner, 30)
        teacher.choose(torch.tensor([3]))
        answer = teacher(shown([0, 1]))
        assert inner.batches == []
        assert not answer.known.any()
        assert answer.logits.shape == (2, 5)
        assert answer.taps["stage"].shape == (2, 2, 3)

    def test_where_all_were_chosen_it_still_says_so(self, recording, shown):
        """Over several ranks all must say which are known, or they could not gather it."""
        teacher = ChosenTeacher(recording(), 30)
        teacher.choose(torch.arange(30))
        assert teacher.partial
        assert teacher(shown([0, 1])).known.tolist() == [True, True]

    def test_a_chosen_one_that_the_budget_leaves_out_is_unknown(self, counting, shown, tmp_path):
        inner = BudgetedTeacher(counting(), Ledger(tmp_path / "l"), budget=2, exhausted="skip")
        teacher = ChosenTeacher(inner, 30)
        teacher.choose(torch.tensor([1, 2, 3]))
        answer = teacher(shown([0, 1, 2, 3]))
        assert answer.known.tolist() == [False, True, True, False]
        assert not answer.logits[~answer.known].any()

    def test_choosing_again_replaces_the_choice(self, recording, shown):
        teacher = ChosenTeacher(recording(), 30)
        for ids in ([1], [2]):
            teacher.choose(torch.tensor(ids))
        assert teacher(shown([1, 2])).known.tolist() == [False, True]

    def test_asking_before_choosing_is_an_error(self, recording, shown):
        with pytest.raises(ConfigError, match="no samples were chosen for the teacher yet"):
            ChosenTeacher(recording(), 30)(shown([0]))

    def test_around_a_fixed_view_it_sends_one_view_of_the_chosen(self, counting, make_store, store, shown):
        inner = counting()
        teacher = ChosenTeacher(FixedViewTeacher(CachedTeacher(inner, make_store()), store, CropFlip(1)), 30)
        teacher.choose(torch.arange(0, 30, 3))
        for epoch in range(3):
            teacher(shown(range(30), epoch))
        assert sorted({row for row, _ in inner.sent}) == list(range(0, 30, 3))
        assert len(inner.sent) == 10
