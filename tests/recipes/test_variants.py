"""Methods with settings as one word, and the runs of a curve."""

import pytest

from tutelage.data.protocols import FewTeacherCalls
from tutelage.engine import TeacherConfig
from tutelage.errors import ConfigError, UnknownNameError
from tutelage.methods import CKDConfig, KDConfig, RKDConfig, SumConfig
from tutelage.recipes import Variant, curve_runs, digits, short

TEACHER = TeacherConfig(weights="t")


def test_settings_have_the_types_of_the_method():
    method = Variant.parse("ckd:k=2,distance=mse,all_pairs=true,weight=3").method
    assert method == CKDConfig(k=2, distance="mse", all_pairs=True, weight=3.0)


def test_settings_of_the_run_are_told_from_those_of_the_method():
    variant = Variant.parse("kd:mix=mixup3,batch_size=63,lr=0.3,images_per_class=7,temperature=2")
    run = variant.applied(short(), TEACHER)
    assert variant.method == KDConfig(temperature=2.0)
    assert (run.data.batch_size, run.data.images_per_class, run.stages[-1].optimizer.lr) == (63, 7, 0.3)
    assert run.stages[-1].mix.kind == "mixup3"


def test_the_parts_of_a_sum_have_settings_of_their_own():
    variant = Variant.parse("0.5*kd+rkd:kd.temperature=2,rkd.angle=9,task_weight=0.2,lr=0.3")
    assert variant.method == SumConfig.of([0.5 * KDConfig(temperature=2.0), RKDConfig(angle=9.0)], task_weight=0.2)
    assert variant.lr == 0.3
    assert variant.folder == "0.5xkd+rkd.kd.temperature=2.rkd.angle=9.task_weight=0.2.lr=0.3"
    assert Variant.parse("label_smoothing+tf_kd").applied(short(), TEACHER).teacher is None
    assert Variant.parse("label_smoothing+kd").applied(short(), TEACHER).teacher == TEACHER


def test_labels_alone_have_no_teacher_and_may_be_mixed():
    run = Variant.parse("ce:mix=cutmix").applied(short(), TEACHER)
    assert run.teacher is None
    assert run.stages[-1].mix.kind == "cutmix"


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("kdd", UnknownNameError, "unknown method 'kdd'"),
        ("kd:heat=2", ConfigError, "the method 'kd' cannot be read: .*heat"),
        ("kd:temperature=warm", ConfigError, "the method 'kd' cannot be read: .*temperature"),
        ("kd:temperature=0", ConfigError, "temperature must be"),
        ("kd:temperature", ConfigError, "written NAME:setting=value"),
        ("ce:temperature=2", ConfigError, "labels alone have no setting 'temperature'"),
        ("kd+rkdd", UnknownNameError, "unknown method 'rkdd'"),
        ("kd+rkd:temperature=2", ConfigError, r"the method 'kd\+rkd' cannot be read: .*temperature"),
        ("kd+rkd:kd.heat=2", ConfigError, r"extra fields found \(heat\) @ \$\.kd"),
        ("kd+rkd:kd=2", ConfigError, r"expected KDConfig @ \$\.kd"),
        ("kd+rkd:kd=2,kd.weight=3", ConfigError, r"settings of a part are written kd\.setting=value; got kd=2"),
        ("kd+dml", ConfigError, "dml learns from peers and kd from a teacher"),
        ("kd:mix=blend", ConfigError, "mixed by mixup, mixup3 or cutmix"),
    ],
)
def test_what_cannot_be_read_is_refused(text, error, message):
    with pytest.raises(error, match=message):
        Variant.parse(text)


class TestCurve:
    def runs(self, *texts, sizes=(2000, 4000), seeds=(0, 1), images=96_000):
        variants = [Variant.parse(text) for text in texts]
        protocols = [FewTeacherCalls(subset_size=size) for size in sizes]
        return curve_runs(short(), TEACHER, variants, protocols=protocols, seeds=seeds, images=images)

    def test_every_size_seed_and_method_has_a_run(self):
        runs = self.runs("ce", "kd", "ckd:k=2,distance=mse")
        assert len(runs) == 12
        assert "ckd.k=2.distance=mse-n3200-seed1" in runs
        assert all(run.data.protocol.calls == int(name.split("-n")[1].split("-")[0]) for name, run in runs.items())

    def test_all_sizes_forward_as_many_images(self):
        assert {run.stages[-1].epochs * run.data.protocol.calls for run in self.runs("kd").values()} == {96_000}

    def test_the_epochs_of_the_recipe_are_kept_where_images_are_not_given(self):
        runs = curve_runs(
            digits(), TEACHER, [Variant.parse("kd")], protocols=[FewTeacherCalls(subset_size=100)], seeds=[0]
        )
        assert next(iter(runs.values())).stages[-1].epochs == digits().stages[-1].epochs

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"sizes": ()}, "at least one method, one subset size and one seed"),
            ({"sizes": (2000, 2000)}, "named twice, or two sizes are equal"),
            ({"images": 1000}, "1000 images a run are less than one epoch of 1600"),
        ],
    )
    def test_what_makes_no_curve_is_refused(self, given, message):
        with pytest.raises(ConfigError, match=message):
            self.runs("kd", **given)
