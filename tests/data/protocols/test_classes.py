"""Which classes a student has by the protocols cross-task and incremental, and which images train."""

import json

import pytest
import torch

from tutelage.data import Dataset, ImageStore
from tutelage.data.protocols import CrossTask, FewTeacherCalls, Incremental, Standard, divided
from tutelage.errors import ConfigError, DataError, LabelSpaceError
from tutelage.labels import LabelSpace

DATA = LabelSpace(tuple("abcdefghij"))
TEACHER = LabelSpace(tuple("abcde"))
LABELS = torch.arange(200) % 10


@pytest.fixture
def order(tmp_path):
    """A file that names the classes the other way round."""
    path = tmp_path / "order.json"
    path.write_text(json.dumps({"train": list("jihgf"), "test": list("edcba")}))
    return str(path)


class TestCrossTask:
    @pytest.mark.parametrize("overlap", range(6))
    def test_the_student_has_the_positions_from_n_minus_overlap_to_2n_minus_overlap(self, overlap):
        names = CrossTask(overlap=overlap).classes(DATA, TEACHER).labels.names
        assert names == DATA.names[5 - overlap : 10 - overlap]
        assert len(set(names) & set(TEACHER.names)) == overlap

    @pytest.mark.parametrize("overlap", range(6))
    def test_a_file_orders_the_classes_and_a_student_alone_has_the_same(self, order, overlap):
        teacher = LabelSpace(tuple("jihgf"))
        taught = CrossTask(overlap=overlap, order=order).classes(DATA, teacher)
        assert taught.labels.names == tuple("jihgfedcba")[5 - overlap : 10 - overlap]
        assert CrossTask(overlap=overlap, order=order, teacher_classes=5).classes(DATA, None) == taught

    def test_the_teacher_says_which_classes_come_first_and_in_which_order(self):
        teacher = LabelSpace(("h", "b", "zebra", "c"))
        assert CrossTask(overlap=2, num_classes=4).classes(DATA, teacher).labels.names == ("b", "c", "a", "d")

    def test_no_class_is_without_training_images(self):
        assert CrossTask(overlap=2).classes(DATA, TEACHER).num_old == 0

    def test_an_overlap_beyond_the_teacher_is_refused_with_the_counts(self):
        with pytest.raises(LabelSpaceError, match=r"overlap of 6 .*teacher has 5 of the 10"):
            CrossTask(overlap=6).classes(DATA, TEACHER)
        with pytest.raises(LabelSpaceError, match=r"overlap of 1 .*teacher has 0 of the 10"):
            CrossTask(overlap=1, num_classes=3).classes(DATA, LabelSpace(("x", "y")))

    def test_too_few_other_classes_are_refused_with_the_counts(self):
        with pytest.raises(
            LabelSpaceError, match=r"student of 7 classes that shares 1 .*needs 6 others, and the data has 5"
        ):
            CrossTask(overlap=1, num_classes=7).classes(DATA, TEACHER)

    def test_a_student_alone_must_be_told_how_many_the_teacher_has(self):
        with pytest.raises(ConfigError, match="--teacher-classes"):
            CrossTask().classes(DATA, None)

    @pytest.mark.parametrize(
        "settings", [{"overlap": -1}, {"num_classes": 1}, {"teacher_classes": 1}, {"train_size": 0}]
    )
    def test_numbers_out_of_range_are_refused(self, settings):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            CrossTask(**settings)


class TestIncremental:
    def test_the_students_classes_are_the_old_ones_in_the_teachers_order_and_then_the_new(self):
        classes = Incremental(num_new=2).classes(DATA, LabelSpace(("c", "a", "b")))
        assert classes.labels.names == ("c", "a", "b", "d", "e")
        assert classes.num_old == 3

    def test_by_default_all_classes_that_the_teacher_lacks_are_new(self):
        assert Incremental().classes(DATA, TEACHER).labels.names == DATA.names

    def test_a_file_orders_the_new_classes(self, order):
        assert Incremental(num_new=2, order=order).classes(DATA, TEACHER).labels.names == tuple("abcdeji")

    def test_too_few_new_classes_are_refused_with_the_counts(self):
        with pytest.raises(LabelSpaceError, match="6 new classes are wanted, and the data has 5"):
            Incremental(num_new=6).classes(DATA, TEACHER)
        with pytest.raises(LabelSpaceError, match="1 new classes are wanted, and the data has 0"):
            Incremental().classes(DATA, DATA)

    def test_data_without_the_old_classes_is_refused(self):
        with pytest.raises(LabelSpaceError, match="none of the teacher's 2 classes"):
            Incremental().classes(DATA, LabelSpace(("x", "y")))

    def test_it_needs_a_teacher(self):
        with pytest.raises(ConfigError, match="name one with --teacher"):
            Incremental().classes(DATA, None)

    @pytest.mark.usefixtures("own_messages")
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"num_new": 0}, "num_new"),
            ({"start": "x"}, "start"),
            ({"train": "x"}, "train"),
            ({"train": "head", "start": "fresh"}, "leave out start=fresh"),
        ],
    )
    def test_settings_out_of_range_are_refused(self, settings, message):
        with pytest.raises(ConfigError, match=message):
            Incremental(**settings)


class TestDivided:
    @pytest.mark.parametrize(
        "protocol", [Standard(), CrossTask(), FewTeacherCalls(subset_size=50)], ids=lambda p: p.name
    )
    def test_without_other_classes_it_is_what_the_protocol_says(self, protocol):
        whole, same = protocol.divide(LABELS, seed=1), divided(protocol, LABELS, seed=1)
        assert all(
            torch.equal(getattr(whole, part), getattr(same, part)) for part in ("train", "validation", "answered")
        )

    @pytest.mark.parametrize(
        "protocol", [Standard(), CrossTask(), FewTeacherCalls(subset_size=50)], ids=lambda p: p.name
    )
    def test_images_of_other_and_of_old_classes_are_in_no_part(self, protocol):
        labels = LABELS - 4  # -4 … -1 do not take part, 0 … 5 do
        division = divided(protocol, labels, seed=1, num_old=2)
        for part in (division.train, division.validation, division.answered):
            assert len(part) > 0
            assert labels[part].min() >= 2
        used = torch.cat([division.train, division.validation])
        assert len(used.unique()) == len(used)

    def test_the_same_images_are_held_out_whatever_the_numbers_of_the_classes(self):
        some = torch.where(LABELS < 4, LABELS, -1)
        only = divided(Standard(), LABELS[LABELS < 4], seed=0)
        assert torch.equal(divided(Standard(), some, seed=0).validation, (LABELS < 4).nonzero()[:, 0][only.validation])

    def test_no_image_left_is_refused(self):
        with pytest.raises(DataError, match="none of the 200 training images"):
            divided(Standard(), LABELS, seed=0, num_old=10)


class TestRestricted:
    @pytest.fixture
    def data(self):
        pixels = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1).expand(10, 8, 8, 1)
        store = ImageStore(pixels, torch.arange(10), "ten")
        return Dataset("mine", DATA, store, store, (0.5,), (0.5,))

    def test_labels_number_the_chosen_classes_in_their_order(self, data):
        some = data.restricted(LabelSpace(("d", "b")))
        assert some.train.labels.tolist() == some.test.labels.tolist() == [-1, 1, -1, 0, *[-1] * 6]
        assert some.labels.names == ("d", "b")

    def test_images_ids_and_checksums_stay_so_that_answers_serve_whatever_the_classes_are(self, data):
        some = data.restricted(LabelSpace(("d", "b")))
        assert some.train.images is data.train.images
        assert some.train.checksum == data.train.checksum
        assert some.fingerprint != data.fingerprint

    def test_all_classes_are_the_data_itself(self, data):
        assert data.restricted(LabelSpace(DATA.names)) is data

    def test_a_class_that_it_lacks_is_refused(self, data):
        with pytest.raises(LabelSpaceError, match="mine has no classes 'z'"):
            data.restricted(LabelSpace(("a", "z")))
