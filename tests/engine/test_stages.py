"""Stages that a method brings along: what each of them trains, who judges it, and what it leaves to the next."""

import itertools
import json
import math
from dataclasses import replace

import phased
import pytest
import torch
from nursery import KILLED, STAGE, configuration, differences

from tutelage.cli.flags import distilled
from tutelage.engine import (
    AnswersConfig,
    OptimizerConfig,
    RunConfig,
    StageConfig,
    TeacherConfig,
    from_json,
    staged,
    to_json,
)
from tutelage.engine import start as start_run
from tutelage.engine.evaluation import Judge, evaluate_ncm
from tutelage.engine.handover import check_stages
from tutelage.engine.loop import StageLoop
from tutelage.engine.products import find_product, products_folder
from tutelage.engine.session import Session, open_fabric
from tutelage.engine.staging import without_phases
from tutelage.errors import ConfigError, RunError
from tutelage.methods import KDConfig, is_taught
from tutelage.models import load_network
from tutelage.types import Batch

FOLLOWER, TUNER = phased.FollowerConfig(), phased.TunerConfig()


@pytest.fixture(autouse=True)
def _known(monkeypatch, tmp_path):
    """The methods of these tests, and a cache that is empty."""
    phased.register(monkeypatch.setitem)
    phased.EVENTS.clear()
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def run_of(tiny, teacher_run):
    """The config of a run with this method: two epochs, a line of metrics a step."""

    def build(method, teacher=None, **settings):
        return tiny(method, teacher or teacher_run, **{"epochs": 2, "log_every": 1} | settings)

    return build


@pytest.fixture
def watched(monkeypatch):
    """(stage, student before, student after) of every stage that is carried out, and its first and last method."""
    seen, run, begin = [], StageLoop.run, StageLoop._begin

    def weights(loop):
        return {name: value.clone() for name, value in loop.session.student.state_dict().items()}

    def began(loop):
        begin(loop)
        loop.first = weights(loop)

    def watching(loop, log):
        before = weights(loop)
        run(loop, log)
        seen.append((loop.stage.name, before, getattr(loop, "first", before), weights(loop)))

    monkeypatch.setattr(StageLoop, "run", watching)
    monkeypatch.setattr(StageLoop, "_begin", began)
    return seen


def records(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def same(left, right):
    return left.keys() == right.keys() and all(left[name].equal(right[name]) for name in left)


class TestMaking:
    def test_phases_come_first_for_their_share_of_the_epochs_at_their_own_rate(self):
        coder, own = staged(StageConfig(epochs=10, optimizer=OptimizerConfig(lr=0.3)), FOLLOWER)
        assert (coder.name, coder.method, coder.epochs, coder.optimizer.lr) == ("coder", phased.CoderConfig(), 5, 0.02)
        assert (own.name, own.method, own.epochs, own.optimizer.lr) == ("student", FOLLOWER, 10, 0.3)
        assert [(stage.phase, stage.start) for stage in (coder, own)] == [(True, "last"), (False, "best")]

    def test_a_phase_has_at_least_one_epoch(self):
        assert staged(StageConfig(epochs=1), phased.FollowerConfig(share=0.01))[0].epochs == 1

    def test_a_method_without_phases_has_one_stage(self):
        assert staged(StageConfig(), KDConfig()) == (StageConfig(method=KDConfig()),)
        assert staged(StageConfig(), None) == (StageConfig(),)

    def test_the_stages_can_be_taken_back_and_those_of_the_user_stay(self):
        own = (StageConfig(name="first"), *staged(StageConfig(), FOLLOWER))
        assert without_phases(own) == (StageConfig(name="first"), StageConfig(method=FOLLOWER))

    def test_a_method_whose_phase_needs_a_teacher_is_taught(self):
        assert TUNER.teacher_free
        assert is_taught(TUNER)

    def test_the_config_is_repeated_by_its_json(self, run_of):
        config = run_of(FOLLOWER)
        assert from_json(json.loads(json.dumps(to_json(config)))) == config

    def test_the_command_line_makes_them_and_unmakes_them_for_another_method(self, run_of, tmp_path):
        words = ["--teacher", "t", "--epochs", "4"]
        config, _ = distilled(["digits", *words, "--method", "fake_follower", "--fake-follower.width", "3"])
        assert [stage.name for stage in config.stages] == ["coder", "student"]
        assert [stage.method.width for stage in config.stages] == [3, 3]
        (tmp_path / "config.json").write_text(json.dumps(to_json(config)))
        again, _ = distilled([str(tmp_path / "config.json")])
        assert again == config
        other, _ = distilled([str(tmp_path / "config.json"), "--method", "kd"])
        assert other.stages == (replace(config.stages[1], method=KDConfig(), start="last"),)

    def test_a_method_without_its_phase_is_refused(self):
        with pytest.raises(ConfigError, match="'fake_follower' needs the stage 'coder' before its own"):
            RunConfig(teacher=TeacherConfig(weights="t"), stages=(StageConfig(method=FOLLOWER),))

    def test_two_stages_of_one_name_are_refused(self):
        with pytest.raises(ConfigError, match="two stages are called 'student'"):
            RunConfig(stages=(StageConfig(), StageConfig()))

    def test_a_run_that_trains_no_student_is_refused_before_training(self, run_of, tmp_path):
        config = run_of(FOLLOWER)
        with pytest.raises(ConfigError, match="no stage trains the student"):
            start_run(replace(config, stages=config.stages[:1]), tmp_path / "x")
        assert not (tmp_path / "x").exists()

    def test_class_means_of_a_student_without_an_embedding_are_refused(self):
        embed = phased.EmbedConfig().build({}, {})
        with pytest.raises(ConfigError, match=r"'student' is judged by the student's embedding, and it has none"):
            check_stages(RunConfig(), [embed], {"logits": (10,)})

    def test_a_method_cannot_be_trained_on_answers_that_nobody_gives(self):
        coder = phased.CoderConfig().build({}, {"embedding": (3,)})
        config = RunConfig(stages=(StageConfig(name="alone"), StageConfig()))
        with pytest.raises(ConfigError, match="the stage 'alone' is trained on the answers of a teacher: name one"):
            check_stages(config, [coder, None], {})


class TestTrainingTheMethodAlone:
    @pytest.fixture
    def finished(self, run_of, tmp_path, watched, monkeypatch):
        calls = []
        network_call = Session.prepare

        def prepared(session, stage):
            session.student.register_forward_hook(lambda *_: calls.append(stage)) if stage == 0 else None
            network_call(session, stage)

        monkeypatch.setattr(Session, "prepare", prepared)
        at = []
        monkeypatch.setattr(phased.Coder, "after_step", lambda self, epoch: at.append((epoch, len(calls))))
        result = start_run(run_of(FOLLOWER), tmp_path / "x")
        return tmp_path / "x", result, watched, at

    def test_the_student_is_neither_run_nor_changed_nor_validated(self, finished):
        path, _, ((name, before, _, after), own), at = finished
        assert (name, len(at)) == ("coder", 10)
        assert {count for _, count in at} == {0}
        assert same(before, after)
        assert not same(own[1], own[3])
        assert {line["stage"] for line in records(path) if line["kind"] == "validation"} == {"student"}

    def test_its_terms_are_logged_without_an_accuracy_or_a_cross_entropy(self, finished):
        lines = [line for line in records(finished[0]) if line["kind"] == "train" and line["stage"] == "coder"]
        assert all(set(line["terms"]) == {"reconstruction"} and "accuracy" not in line for line in lines)
        assert lines[-1]["loss"] < 0.9 * lines[0]["loss"]

    def test_the_teacher_is_asked_in_both_stages(self, finished):
        assert finished[1]["teacher"]["calls"] == 64 * (10 + 20) == 64 * finished[1]["steps"]

    def test_the_next_method_follows_it_before_it_is_prepared(self, finished):
        assert phased.EVENTS == ["follow ['coder']", "prepare"]

    def test_the_result_tells_of_each_stage(self, finished):
        coder, own = finished[1]["stages"]
        assert coder == {
            "name": "coder",
            "method": "fake_coder",
            "trains": "method",
            "epochs": 1,
            "steps": 10,
            "judge": "none",
        }
        assert own["best"] == {
            "epoch": finished[1]["accuracy"]["best"]["epoch"],
            "validation": finished[1]["accuracy"]["best"]["validation"],
        }


class TestNearestClassMeans:
    def batches(self, seed, *sizes, classes=4):
        generator = torch.Generator().manual_seed(seed)
        for size in sizes:
            x = torch.randn(size, 3, 1, 1, generator=generator)
            y = torch.randint(classes, (size,), generator=generator)
            yield Batch(x, y, y, y)

    def slow(self, training, judged):
        rows = [(x.flatten(), int(y)) for batch in training for x, y in zip(batch.images, batch.labels, strict=True)]
        means = {c: torch.stack([x for x, y in rows if y == c]).mean(0) for c in {y for _, y in rows}}
        right = []
        for batch in judged:
            for x, y in zip(batch.images, batch.labels, strict=True):
                cosines = {c: torch.cosine_similarity(x.flatten(), mean, 0).item() for c, mean in means.items()}
                right.append(max(cosines, key=cosines.get) == int(y))
        return sum(right) / len(right)

    def test_it_is_the_share_of_the_nearest_by_cosine(self):
        training, judged = list(self.batches(0, 7, 20, 3)), list(self.batches(1, 30, 11))
        found = evaluate_ncm(lambda b: b.images, iter(training), iter(judged), num_classes=4)
        assert found == self.slow(training, judged)
        assert 0 < found < 1

    def test_a_class_without_training_images_is_nobodys_nearest(self):
        one = torch.zeros(1, dtype=torch.int64)
        training = [Batch(torch.ones(1, 3, 1, 1), one, one, one)]
        judged = [Batch(-torch.ones(1, 3, 1, 1), one, one, one)]  # cosine −1; that to an empty class would be 0
        assert evaluate_ncm(lambda b: b.images, iter(training), iter(judged), num_classes=2) == 1.0

    @pytest.mark.parametrize("where", ["training", "judged"])
    def test_what_is_not_finite_is_not_hidden(self, where):
        parts = {"training": list(self.batches(0, 9)), "judged": list(self.batches(1, 9))}
        parts[where][0].images[2] = math.nan
        found = evaluate_ncm(lambda b: b.images, iter(parts["training"]), iter(parts["judged"]), num_classes=4)
        assert math.isnan(found)

    def test_a_stage_is_judged_by_them_and_says_so(self, run_of, tmp_path):
        config = run_of(TUNER)
        embedding = replace(config.stages[0], phase=False)
        result = start_run(replace(config, stages=(embedding,)), tmp_path / "x")
        lines = [line for line in records(tmp_path / "x") if line["kind"] == "validation"]
        assert [set(line) for line in lines] == [{"kind", "stage", "epoch", "step", "ncm"}] * 2
        assert result["ncm"]["last"]["validation"] == lines[-1]["ncm"]
        assert result["ncm"]["best"]["validation"] == max(line["ncm"] for line in lines)
        assert result["ncm"]["last"]["test"] > 0.5 > result["accuracy"]["last"]["test"]  # its logits were never taught

    def test_an_embedding_that_is_not_finite_ends_the_run(self, run_of, tmp_path, monkeypatch):
        monkeypatch.setattr(Judge, "score_ncm", lambda *_: math.nan)
        with pytest.raises(RunError, match="the student's ncm on the validation images is nan after epoch 1"):
            start_run(run_of(TUNER), tmp_path / "x")


class TestHandingOver:
    def test_a_stage_begins_with_the_best_student_of_the_one_before(self, run_of, tmp_path, watched, monkeypatch):
        figures = iter([0.9, 0.1])
        monkeypatch.setattr(Judge, "score_ncm", lambda *_: next(figures))
        kept = []
        keep = StageLoop._keep_best

        def keeping(loop):
            keep(loop)
            kept.append({name: value.clone() for name, value in loop.session.student.state_dict().items()})

        monkeypatch.setattr(StageLoop, "_keep_best", keeping)
        start_run(run_of(TUNER), tmp_path / "x")
        (_, _, _, last), (_, before, first, _) = watched
        assert same(before, last)
        assert same(first, kept[0])
        assert not same(first, last)

    @pytest.mark.parametrize("judge", ["ncm", "none"])
    def test_without_a_better_epoch_or_a_judge_it_begins_with_the_last(self, judge, run_of, tmp_path, watched):
        start_run(run_of(phased.TunerConfig(judge=judge, share=0.5)), tmp_path / "x")
        (_, _, _, last), (_, _, first, _) = watched
        assert same(first, last)

    @pytest.mark.parametrize("begins", ["last", "best"])
    def test_a_stage_of_the_users_own_begins_with_the_last_unless_told(
        self, begins, run_of, tmp_path, watched, monkeypatch
    ):
        measure, scores = Judge.measure, itertools.chain([0.9, 0.1], itertools.repeat(0.5))

        def falling(self, network, split, *, by):
            return measure(self, network, split, by=by) | {"accuracy": next(scores)}

        monkeypatch.setattr(Judge, "measure", falling)
        base = run_of(KDConfig())
        stages = (replace(base.stages[0], name="a", method=None), replace(base.stages[0], start=begins))
        start_run(replace(base, stages=stages), tmp_path / "x")
        (_, _, _, last), (_, _, first, _) = watched
        assert same(first, last) == (begins == "last")

    def test_an_unjudged_stage_has_its_last_weights_as_its_best(self, run_of, tmp_path):
        config = run_of(phased.TunerConfig(judge="none"))
        result = start_run(replace(config, stages=(replace(config.stages[0], phase=False),)), tmp_path / "x")
        assert result["accuracy"]["best"] == result["accuracy"]["last"]
        last, best = load_network(tmp_path / "x"), load_network(tmp_path / "x" / "best.safetensors")
        assert same(last.state_dict(), best.state_dict())


class TestProducts:
    def path_of(self, config):
        session = Session(config, open_fabric(config.engine))
        product = find_product(session, 0)
        return product and product.path

    def test_a_second_student_does_not_pay_again(self, run_of, tmp_path):
        first = start_run(run_of(FOLLOWER), tmp_path / "a")
        kept = list(products_folder().iterdir())
        assert [len(kept), "cached" in first["stages"][0]] == [1, False]
        other = run_of(FOLLOWER, model="zoo:resnet8")
        second = start_run(other, tmp_path / "b")
        assert second["stages"][0]["cached"] is True
        assert second["steps"] == second["stages"][1]["steps"] == 20
        assert second["teacher"]["calls"] == 20 * 64
        assert records(tmp_path / "b")[0] == {"kind": "stage", "stage": "coder", "step": 0, "cached": True}
        assert list(products_folder().iterdir()) == kept

    def test_a_run_with_a_product_is_the_run_that_made_it(self, run_of, tmp_path):
        for name in ("a", "b"):
            start_run(run_of(FOLLOWER), tmp_path / name)
        weights = [(tmp_path / name / "student.safetensors").read_bytes() for name in ("a", "b")]
        facts = [load_network(tmp_path / name).card.training.pop("command") for name in ("a", "b")]
        assert facts
        assert weights[0] == weights[1]

    def test_it_is_named_by_all_that_it_depends_on_and_by_no_student(self, run_of, tmp_path):
        base = run_of(FOLLOWER)
        path = self.path_of(base)
        optimizer = replace(base.stages[0].optimizer, lr=0.5)
        others = {
            "seed": replace(base, seed=1),
            "width": run_of(phased.FollowerConfig(width=3)),
            "epochs": run_of(FOLLOWER, epochs=4),
            "rate": replace(base, stages=(replace(base.stages[0], optimizer=optimizer), base.stages[1])),
            "images": replace(base, data=replace(base.data, validation=0.3)),
            "batch": replace(base, data=replace(base.data, batch_size=32)),
        }
        found = {name: self.path_of(config) for name, config in others.items()}
        assert len({path, *found.values()}) == 1 + len(others)
        assert self.path_of(run_of(FOLLOWER, model="zoo:digits_large")) == path

    def test_its_first_weights_do_not_depend_on_the_student(self, run_of):
        configs = [run_of(FOLLOWER, model=model) for model in ("zoo:digits_small", "zoo:digits_large")]
        one, other = (Session(config, open_fabric(config.engine)).methods for config in configs)
        assert same(one[0].state_dict(), other[0].state_dict())
        assert not same(one[1].state_dict(), other[1].state_dict())

    def test_it_is_not_kept_where_answers_are_not_where_they_are_numbered_and_of_a_teacher_that_moves(
        self, run_of, teacher_run
    ):
        for answers in (AnswersConfig(cache="off"), AnswersConfig(budget=5000, cache="on")):
            teacher = TeacherConfig(weights=str(teacher_run), answers=answers)
            assert self.path_of(run_of(FOLLOWER, teacher)) is None
        assert self.path_of(run_of(FOLLOWER, TeacherConfig(weights="ema"))) is None

    def test_a_stage_that_trains_the_student_has_none(self, run_of):
        assert self.path_of(run_of(TUNER)) is None

    def test_a_damaged_one_is_made_anew(self, run_of, tmp_path):
        start_run(run_of(FOLLOWER), tmp_path / "a")
        (path,) = products_folder().iterdir()
        whole = path.read_bytes()
        path.write_bytes(whole[:40])
        result = start_run(run_of(FOLLOWER), tmp_path / "b")
        assert "cached" not in result["stages"][0]
        assert path.read_bytes() == whole


class TestKilled:
    def both(self, nursery, tmp_path, config, *deaths):
        caches = [{"TUTELAGE_CACHE": str(tmp_path / name)} for name in ("one", "other")]
        ended = nursery.live(do="start", path=tmp_path / "peace", config=config, environment=caches[0])
        assert ended["status"] == [0], ended["log"]
        order = {"do": "start", "config": config}
        for death in deaths:
            ended = nursery.live(path=tmp_path / "war", environment=caches[1], **order, **death)
            assert ended["status"] == [KILLED], ended["log"]
            order = {"do": "resume"}
        ended = nursery.live(path=tmp_path / "war", environment=caches[1], **order)
        assert ended["status"] == [0], ended["log"]
        return differences(tmp_path / "peace", tmp_path / "war")

    @pytest.mark.slow
    def test_a_run_killed_in_either_stage_ends_like_one_left_in_peace(self, nursery, teacher, tmp_path):
        config = configuration("fake_follower", teacher, epochs=2, save_every=0.0)
        assert self.both(nursery, tmp_path, config, {"die_at": 7}, {"die_at": STAGE + 9}) == []

    @pytest.mark.slow
    def test_a_run_killed_when_the_best_student_is_replaced_has_not_lost_what_it_began_with(
        self, nursery, teacher, tmp_path
    ):
        config = configuration("fake_tuner", teacher, epochs=2, save_every=600.0)
        # The second death comes when the best student of the first stage was just overwritten, and no checkpoint
        # of the second stage was written but the one at its start.
        assert self.both(nursery, tmp_path, config, {"die_at": STAGE + 17}, {"die": ["best.json", 1, "after"]}) == []


class TestRanks:
    @pytest.mark.slow
    @pytest.mark.parametrize("method", ["fake_follower", "fake_tuner"])
    def test_two_processes_follow_one(self, method, nursery, teacher, tmp_path):
        lines = []
        for ranks in (1, 2):
            config = configuration(
                method, teacher, model="python:students:without_norm", devices=ranks, epochs=1, lr=0.01
            )
            path = tmp_path / str(ranks)
            ended = nursery.live(
                do="start", path=path, config=config, ranks=ranks, environment={"TUTELAGE_CACHE": str(path) + "c"}
            )
            assert set(ended["status"]) == {0}, ended["log"]
            lines.append(records(path))
        one, two = lines
        assert [line["kind"] for line in one] == [line["kind"] for line in two]
        for ours, theirs in zip(one, two, strict=True):
            # Dropout draws other numbers on every rank, so the auto-encoder's loss is alike, not equal.
            if "loss" in ours:
                assert ours["loss"] == pytest.approx(theirs["loss"], rel=0.2)
            if "ncm" in ours:
                assert ours["ncm"] == pytest.approx(theirs["ncm"], abs=3 / 135)
