"""Runs whose student and teacher have the same classes, some of the same, or none: on digits, end to end."""

import dataclasses
import json
from contextlib import contextmanager

import pytest
import torch

from tutelage.data.protocols import CrossTask, Incremental
from tutelage.engine import EngineConfig, TeacherConfig, evaluate_network, from_json, resume, start, to_json
from tutelage.engine.incremental import begin, head_of, inherit
from tutelage.engine.session import Session, open_fabric
from tutelage.errors import ConfigError, Interrupted, LabelSpaceError
from tutelage.methods import CKDConfig, DKDConfig, KDConfig, RKDConfig
from tutelage.models import ModelCard, build_network, load_network

OLD = "4,1,3,0,2"
CARD = ModelCard(model="zoo:digits_small", classes=("a", "b"), image=(1, 8, 8), mean=(0.3,), std=(0.4,))


@pytest.fixture(scope="module")
def fabric():
    return open_fabric(EngineConfig(accelerator="cpu", precision="32"))


@pytest.fixture(scope="module")
def of_five(tmp_path_factory, tiny):
    """The finished run of a teacher of the classes 4, 1, 3, 0 and 2, in this order."""
    path = tmp_path_factory.mktemp("five") / "run"
    config = tiny(epochs=12, batch_size=32)
    start(dataclasses.replace(config, data=dataclasses.replace(config.data, classes=OLD)), path)
    return path


@pytest.fixture
def taught(tiny, of_five):
    """A run on some classes, by a method and a teacher of five."""

    def make(method, *, protocol=None, classes=None, teacher=None, **settings):
        source = teacher or TeacherConfig(weights=str(of_five), shared_only=True)
        config = tiny(method, source if method else None, batch_size=32, **settings)
        return dataclasses.replace(config, data=dataclasses.replace(config.data, protocol=protocol, classes=classes))

    return make


class TestRestriction:
    def test_a_network_knows_the_classes_that_it_was_taught_in_their_order(self, of_five):
        assert load_network(of_five).card.classes == ("4", "1", "3", "0", "2")
        result = json.loads((of_five / "result.json").read_text())
        assert result["data"] == "digits"
        assert result["task"].startswith("digits (5 of 10 classes; ")
        assert result["accuracy"]["last"]["test"] > 0.6

    def test_it_is_judged_on_the_images_of_its_classes(self, of_five):
        facts = evaluate_network(of_five, engine=EngineConfig(accelerator="cpu", precision="32"))
        result = json.loads((of_five / "result.json").read_text())
        assert facts["accuracy"] == result["accuracy"]["last"]["test"]
        assert facts["classes"] == "5 of 10"
        assert 200 < facts["images"] < 250

    def test_only_images_of_the_classes_train_validate_and_test(self, taught, fabric):
        session = Session(taught(None, classes="7,9,8"), fabric)
        raw = Session(taught(None), fabric).data
        for split in ("train", "validation", "test"):
            store = raw.test if split == "test" else raw.train
            assert store.labels[session.judge.ids[split]].unique().tolist() == [7, 8, 9]
            assert session.judge.labels(split).unique().tolist() == [0, 1, 2]
        batch = next(session.loader().epoch(0))
        assert torch.equal(torch.tensor([7, 9, 8])[batch.labels], raw.train.labels[batch.ids])

    def test_all_classes_are_the_same_run_as_without_the_setting(self, taught, fabric):
        some, every = (Session(taught(None, classes=classes), fabric) for classes in ("0:10", None))
        assert torch.equal(some.division.train, every.division.train)
        assert some.task.name == every.task.name == "digits"

    def test_answers_bought_for_all_classes_serve_some(self, taught, fabric, teacher_run):
        cached = TeacherConfig(weights=str(teacher_run))
        subjects = []
        for classes in (None, "3:6"):
            session = Session(taught(RKDConfig(), classes=classes, teacher=cached), fabric)
            subjects.append(session.tutor.open_store(["embedding"]).subject)
        assert subjects[0] == subjects[1]


class TestCrossTask:
    @pytest.mark.parametrize("overlap", [0, 2, 5])
    def test_the_student_shares_so_many_classes_with_its_teacher(self, taught, fabric, overlap):
        config = taught(RKDConfig(), protocol=CrossTask(overlap=overlap, validation=0.3))
        session = Session(config, fabric)
        assert session.data.labels.names == ("4", "1", "3", "0", "2", *"56789")[5 - overlap : 10 - overlap]
        assert session.tutor.facts["shared_classes"] == overlap
        assert set(session.data.train.labels[session.division.train].tolist()) == set(range(5))

    def test_the_config_is_read_back(self, taught):
        config = taught(RKDConfig(), protocol=CrossTask(overlap=2))
        assert from_json(json.loads(json.dumps(to_json(config)))) == config

    def test_features_of_other_classes_teach(self, taught, tmp_path):
        result = start(taught(RKDConfig(), protocol=CrossTask(validation=0.3)), tmp_path / "run")
        assert result["teacher"]["accuracy"] == {}
        assert load_network(tmp_path / "run").card.classes == ("5", "6", "7", "8", "9")

    def test_a_student_alone_has_the_same_task(self, taught, fabric):
        with_teacher = Session(taught(RKDConfig(), protocol=CrossTask(overlap=2)), fabric)
        alone = Session(taught(None, classes="0,2,5,6,7"), fabric)
        assert with_teacher.task.name == alone.task.name

    def test_kd_among_other_classes_is_refused_with_what_to_do(self, taught, fabric, of_five):
        plain = TeacherConfig(weights=str(of_five))
        with pytest.raises(LabelSpaceError, match=r"share 2 \('0', '2'\): .*--shared-only"):
            Session(taught(KDConfig(), protocol=CrossTask(overlap=2), teacher=plain), fabric)

    def test_no_shared_class_is_refused(self, taught, fabric):
        with pytest.raises(LabelSpaceError, match=r"at least two, .* share none"):
            Session(taught(KDConfig(), protocol=CrossTask()), fabric)

    @pytest.mark.parametrize("method", [KDConfig(), DKDConfig(warmup_epochs=1), CKDConfig(task_weight=1.0)])
    def test_methods_of_logits_run_on_the_shared_classes(self, taught, tmp_path, method):
        result = start(taught(method, protocol=CrossTask(overlap=3, validation=0.3), epochs=2), tmp_path / "run")
        assert result["accuracy"]["last"]["test"] > 0.2
        assert (result["teacher"]["skipped"] > 0) == (method.name != "kd")


class TestNames:
    def test_a_list_names_the_teachers_classes(self, taught, fabric, of_five, tmp_path):
        file = tmp_path / "names.txt"
        file.write_text("four\none\nthree\nzero\ntwo\n")
        named = TeacherConfig(weights=str(of_five), classes=str(file))
        assert Session(taught(RKDConfig(), teacher=named), fabric).teacher.labels.names[0] == "four"

    def test_a_map_makes_them_meet_the_students(self, taught, fabric, of_five, tmp_path):
        file = tmp_path / "map.csv"
        file.write_text("teacher,student\n4,9\n")
        mapped = TeacherConfig(weights=str(of_five), classes=str(file), shared_only=True)
        session = Session(taught(KDConfig(), teacher=mapped), fabric)
        assert session.teacher.labels.names == ("9", "1", "3", "0", "2")

    def test_a_list_of_another_length_is_refused(self, taught, fabric, of_five, tmp_path):
        file = tmp_path / "names.txt"
        file.write_text("a\nb\nc\n")
        with pytest.raises(LabelSpaceError, match=r"list has 3 names \('a', 'b', 'c'\), and the teacher has 5 classes"):
            Session(taught(RKDConfig(), teacher=TeacherConfig(weights=str(of_five), classes=str(file))), fabric)

    def test_names_change_no_answer(self, taught, fabric, of_five, tmp_path):
        file = tmp_path / "names.txt"
        file.write_text("a\nb\nc\nd\ne\n")
        prints = [
            Session(taught(RKDConfig(), teacher=TeacherConfig(weights=str(of_five), classes=classes)), fabric)
            for classes in (None, str(file))
        ]
        assert prints[0].teacher.fingerprint == prints[1].teacher.fingerprint

    def test_a_copy_of_the_student_has_its_classes(self):
        with pytest.raises(ConfigError, match="has the student's classes"):
            TeacherConfig(weights="ema", classes="x.txt")


class TestInheriting:
    def build(self, classes, seed, **changes):
        torch.manual_seed(seed)
        return build_network(dataclasses.replace(CARD, classes=tuple(classes), **changes))

    def test_all_weights_and_the_rows_of_known_classes_are_taken_over(self):
        student, teacher = self.build("xbay", 0), self.build("ab", 1)
        before = {name: value.clone() for name, value in student.model.state_dict().items()}
        assert inherit(student, teacher)
        head = head_of(student, teacher)
        mine, theirs = student.model.state_dict(), teacher.model.state_dict()
        for name, value in mine.items():
            if name not in head:
                assert torch.equal(value, theirs[name])
            else:
                assert torch.equal(value[[2, 1]], theirs[name])
                assert torch.equal(value[[0, 3]], before[name][[0, 3]])
        assert len(head) == 2

    def test_a_teacher_of_another_model_gives_nothing(self):
        student, teacher = self.build("abc", 0), self.build("ab", 1, model="zoo:digits_large")
        before = student.fingerprint()
        assert not inherit(student, teacher)
        assert student.fingerprint() == before

    def test_a_head_alone_needs_a_teacher_of_its_model(self, of_five, taught, fabric):
        config = taught(KDConfig(), protocol=Incremental(train="head"), model="zoo:digits_large")
        with pytest.raises(ConfigError, match=r"of its model \(zoo:digits_small\), and is zoo:digits_large"):
            Session(config, fabric)

    def test_a_teacher_that_is_no_network_gives_nothing(self, fabric, taught, of_five):
        student = self.build("abc", 0)
        before = student.fingerprint()
        begin(Incremental(), student, object())
        assert student.fingerprint() == before


class TestIncremental:
    LWF = KDConfig(weight=1.0, temperature=2.0, task_weight=1.0)

    def test_the_student_begins_with_the_teachers_answers_and_sees_new_classes_only(self, taught, fabric):
        session = Session(taught(self.LWF, protocol=Incremental(num_new=3, validation=0.3)), fabric)
        assert session.data.labels.names == ("4", "1", "3", "0", "2", "5", "6", "7")
        assert set(session.data.train.labels[session.division.train].tolist()) == {5, 6, 7}
        assert set(session.judge.labels("test").tolist()) == set(range(8))
        batch = next(iter(session.judge.batches("test")))
        session.student.eval()
        torch.testing.assert_close(session.student(batch.images).logits[:, :5], session.teacher(batch).logits)

    def test_result_says_how_old_and_new_classes_are_told(self, taught, tmp_path):
        result = start(taught(self.LWF, protocol=Incremental(num_new=3, validation=0.3), epochs=2), tmp_path / "run")
        last = result["incremental"]["last"]
        assert last["all"] == pytest.approx(result["accuracy"]["last"]["test"])
        assert min(last["old"], last["new"]) <= last["harmonic"] <= max(last["old"], last["new"])
        assert last["new"] > 0.3
        assert set(result["incremental"]) == {"last", "best"}
        assert "8 of 10 classes, 5 old; " in result["task"]

    def test_distilling_old_logits_forgets_less_than_fine_tuning(self, taught, tmp_path):
        protocol = Incremental(num_new=2, validation=0.3)
        runs = {"lwf": dataclasses.replace(self.LWF, weight=5.0), "fine": dataclasses.replace(self.LWF, weight=0.0)}
        old = {
            name: start(taught(method, protocol=protocol, epochs=4, optimizer={"lr": 0.005}), tmp_path / name)[
                "incremental"
            ]["last"]["old"]
            for name, method in runs.items()
        }
        assert old["lwf"] > old["fine"]

    def test_a_cross_entropy_among_new_classes_leaves_the_head_of_old_ones_alone(self, taught, tmp_path, of_five):
        protocol = Incremental(num_new=2, compare="new", validation=0.3)
        config = taught(dataclasses.replace(self.LWF, weight=0.0), protocol=protocol, optimizer={"weight_decay": 0.0})
        start(config, tmp_path / "run")
        student, teacher = load_network(tmp_path / "run"), load_network(of_five)
        for name in head_of(student, teacher):
            mine, theirs = student.model.state_dict()[name], teacher.model.state_dict()[name]
            torch.testing.assert_close(mine[:5], theirs)

    def test_a_probe_trains_the_head_alone(self, taught, tmp_path, of_five):
        config = taught(
            dataclasses.replace(self.LWF, weight=0.0), protocol=Incremental(num_new=2, train="head", validation=0.3)
        )
        start(config, tmp_path / "run")
        student, teacher = load_network(tmp_path / "run"), load_network(of_five)
        head, theirs = head_of(student, teacher), teacher.model.state_dict()
        same = [name for name, value in student.model.state_dict().items() if torch.equal(value, theirs[name])]
        assert sorted([*same, *head]) == sorted(theirs)

    def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(self, taught, tmp_path, monkeypatch):
        config = taught(self.LWF, protocol=Incremental(num_new=2, validation=0.3), epochs=2)
        whole = start(config, tmp_path / "whole")
        steps = iter(range(100))
        monkeypatch.setattr("tutelage.engine.loop.polite_stop", _stops_after(steps, 4), raising=True)
        with pytest.raises(Interrupted):
            start(config, tmp_path / "part")
        monkeypatch.undo()
        again = resume(tmp_path / "part")
        assert again["incremental"] == whole["incremental"]
        prints = {load_network(tmp_path / name).fingerprint() for name in ("whole", "part")}
        assert len(prints) == 1


def _stops_after(steps, count):
    @contextmanager
    def stop():
        yield lambda: next(steps) == count

    return stop
