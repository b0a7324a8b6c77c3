"""What cannot work is refused before it starts."""

import dataclasses

import pytest
import torch
from torch import nn

from tutelage.engine import DataConfig, EngineConfig, TeacherConfig
from tutelage.engine.session import Session, _precision, open_fabric
from tutelage.errors import ConfigError, LabelSpaceError, ShapeError, TeacherError, UnknownNameError
from tutelage.methods import FitNetConfig, KDConfig, RKDConfig
from tutelage.models import ModelCard, build_network, save_network

DIGITS = ModelCard(
    model="zoo:digits_large", classes=tuple("0123456789"), image=(1, 8, 8), mean=(0.3,), std=(0.4,), training={}
)


@pytest.fixture(scope="module")
def fabric():
    return open_fabric(EngineConfig(accelerator="cpu", precision="32"))


@pytest.fixture
def untrained(tmp_path):
    """Writes a network that was never trained, and says where."""

    def write(**changes):
        torch.manual_seed(0)
        save_network(build_network(dataclasses.replace(DIGITS, **changes)), tmp_path / "net.safetensors")
        return tmp_path / "net.safetensors"

    return write


def taught_by(path, **settings):
    return TeacherConfig(weights=str(path), **settings)


class TestSeed:
    def test_it_sets_the_initial_weights(self, tiny, fabric):
        def start(seed):
            return Session(tiny(seed=seed), fabric).student.fingerprint()

        assert start(0) == start(0)
        assert start(0) != start(1)

    def test_it_sets_order_and_views_of_the_training_images(self, tiny, fabric):
        def first(seed):
            return next(Session(tiny(seed=seed), fabric).loader().epoch(0))

        assert torch.equal(first(0).images, first(0).images)
        assert not torch.equal(first(0).ids, first(1).ids)

    def test_the_validation_images_do_not_depend_on_it(self, tiny, fabric):
        ids = [Session(tiny(seed=seed), fabric).judge.ids["validation"] for seed in (0, 1)]
        assert torch.equal(*ids)


class TestTeacher:
    def test_a_good_teacher_is_measured_on_the_validation_images(self, tiny, fabric, teacher_run):
        session = Session(tiny(KDConfig(), teacher_run), fabric)
        session.check_teacher()
        assert session.tutor.facts["accuracy"]["validation"] > 0.6
        assert session.teacher.calls == 0  # measuring is not teaching

    def test_one_no_better_than_chance_is_refused_with_both_figures(self, tiny, fabric, untrained):
        session = Session(tiny(KDConfig(), untrained()), fabric)
        with pytest.raises(TeacherError, match=r"classifies \d+\.\d% .* and chance is 10\.\d%: .*--allow-bad-teacher"):
            session.check_teacher()

    def test_it_is_accepted_where_the_user_insists(self, tiny, fabric, untrained):
        session = Session(tiny(KDConfig(), taught_by(untrained(), allow_bad=True)), fabric)
        session.check_teacher()
        assert session.tutor.facts["accuracy"]["validation"] < 0.3

    def test_other_classes_are_refused_by_kd_with_the_counts(self, tiny, fabric, untrained):
        path = untrained(classes=("cat", "dog", "1"))
        with pytest.raises(LabelSpaceError, match="teacher has 3 classes, the student 10, and they share 1"):
            Session(tiny(KDConfig(), path), fabric)

    @pytest.mark.parametrize("method", [RKDConfig(), FitNetConfig()])
    def test_other_classes_are_accepted_by_methods_of_features_and_no_accuracy_is_claimed(
        self, tiny, fabric, untrained, method
    ):
        session = Session(tiny(method, untrained(classes=("cat", "dog", "cow"))), fabric)
        session.check_teacher()
        assert session.tutor.facts["accuracy"] == {}

    def test_a_teacher_of_colour_images_is_refused_on_grey_ones(self, tiny, fabric, untrained):
        path = untrained(image=(3, 8, 8), mean=(0.3,) * 3, std=(0.4,) * 3)
        with pytest.raises(ShapeError, match="3 channels, digits has 1"):
            Session(tiny(KDConfig(), path), fabric)

    def test_its_taps_can_be_named(self, tiny, fabric, teacher_run):
        config = tiny(FitNetConfig(role="hint"), taught_by(teacher_run, taps={"hint": "stage1"}))
        config = dataclasses.replace(config, student=dataclasses.replace(config.student, taps={"hint": "stage2"}))
        assert Session(config, fabric).methods[0].needs.roles == ("hint",)

    def test_a_tap_that_does_not_exist_is_refused_with_the_nearest(self, tiny, fabric, teacher_run):
        with pytest.raises(UnknownNameError, match=r"tap 'hint' 'stage9'; the nearest of \d+: stage"):
            Session(tiny(FitNetConfig(role="hint"), taught_by(teacher_run, taps={"hint": "stage9"})), fabric)

    def test_its_weights_are_frozen(self, tiny, fabric, teacher_run):
        network = Session(tiny(KDConfig(), teacher_run), fabric).teacher._network
        assert not any(weight.requires_grad for weight in network.parameters())
        assert not network.training


@pytest.mark.parametrize(
    ("method", "roles"), [(KDConfig(), set()), (RKDConfig(), {"embedding"}), (FitNetConfig(), {"stage2"})]
)
def test_only_the_features_that_the_method_reads_are_captured(tiny, fabric, teacher_run, method, roles):
    session = Session(tiny(method, teacher_run), fabric)
    batch = next(session.loader().epoch(0))
    assert set(session.student(batch.images).taps) == set(session.teacher(batch).taps) == roles


def test_balanced_batches_hold_so_many_images_of_each_of_their_classes(tiny, fabric):
    config = dataclasses.replace(tiny(), data=DataConfig(batch_size=24, images_per_class=8))
    labels = next(Session(config, fabric).loader().epoch(0)).labels
    assert sorted(labels.bincount().tolist())[-4:] == [0, 8, 8, 8]


def test_a_student_without_a_fitting_head_is_refused(tiny, fabric, own_model):
    spec = own_model(lambda num_classes, in_channels: nn.Sequential(nn.Flatten(), nn.Linear(64, 7)))
    with pytest.raises(ShapeError, match="does not fit the 10 classes"):
        Session(tiny(model=spec), fabric)


class TestFabric:
    @pytest.mark.parametrize("accelerator", ["abacus", "cuda"])
    def test_an_accelerator_that_is_not_there_is_refused(self, accelerator, monkeypatch):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(ConfigError, match=f"cannot compute on '{accelerator}' × 1: "):
            open_fabric(EngineConfig(accelerator=accelerator))

    @pytest.mark.parametrize(
        ("native", "precision"), [((True, False), "bf16"), ((False, True), "bf16"), ((False, False), "32")]
    )
    def test_auto_takes_bf16_on_a_cpu_only_where_it_is_native(self, monkeypatch, native, precision):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native[0])
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: native[1])
        assert _precision(EngineConfig(accelerator="cpu")) == precision

    @pytest.mark.parametrize(("native", "precision"), [(True, "bf16"), (False, "16")])
    def test_auto_takes_bf16_on_a_gpu_only_where_it_is_native(self, monkeypatch, native, precision):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
        assert _precision(EngineConfig(accelerator="cuda")) == precision

    def test_what_is_asked_for_is_not_second_guessed(self):
        assert _precision(EngineConfig(precision="16")) == "16"
