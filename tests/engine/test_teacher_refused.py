"""What cannot work with a teacher, and what goes wrong with one: told in one line, and nothing is lost."""

import errno
import os
import shutil
from types import SimpleNamespace

import billed
import pytest
import torch

from tutelage.cli import main
from tutelage.data import open_dataset
from tutelage.data.protocols import FewTeacherCalls
from tutelage.engine import AnswersConfig, HttpConfig, resume, start
from tutelage.errors import BudgetError, ConfigError, DataError, RunError, TeacherError, TutelageError
from tutelage.methods import CKDConfig, FitNetConfig, KDConfig
from tutelage.teachers import AnswerStore, CallableTeacher, Ledger, serve

FEW = FewTeacherCalls(subset_size=200)  # 160 images may be sent


def asked(run):
    """The rows of the ledger of a run."""
    return {(call.id, call.view) for call in Ledger(run / "ledger.sqlite").calls()}


@pytest.fixture
def refused(tmp_path, bill):
    """Starts a run that must be refused: in one line, before any training, with nothing sent and nothing left."""

    def attempt(config, error, match):
        with pytest.raises(error, match=match) as told:
            start(config, tmp_path / "run")
        assert "\n" not in str(told.value)
        assert not (tmp_path / "run").exists()
        assert billed.bill(bill).total() == 0

    return attempt


class TestRefused:
    @pytest.mark.parametrize(
        ("answers", "match"),
        [
            ({"budget": 0}, "at least 1, got 0"),
            ({"plan": "random"}, "the plan 'random' chooses what a budget buys, and none is given"),
            ({"plan": "random", "budget": 9, "view": "same"}, "one answer an image: set view to once or plain"),
            ({"cache": "off", "budget": 9}, "so that none is paid twice: leave out cache=off"),
            ({"cache": "off", "price_per_call": 0.1}, "so that none is paid twice: leave out cache=off"),
            ({"price_per_call": -1.0}, "price_per_call"),
        ],
    )
    def test_settings_that_contradict_each_other(self, answers, match):
        with pytest.raises(ConfigError, match=match):
            AnswersConfig(**answers)

    def test_a_budget_below_the_batch(self, taught, refused):
        refused(taught(budget=63), ConfigError, "budget of 63 teacher calls is below the batch of 64")

    def test_a_budget_too_small_for_one_answer_an_image(self, taught, refused):
        match = "sends 160 images and the budget of 159 teacher calls has room for 159"
        refused(taught(protocol=FEW, budget=159, run={"batch_size": 32}), ConfigError, match)

    def test_several_views_of_an_image_under_a_protocol_of_one(self, taught, refused):
        config = taught(protocol=FEW, view="same", run={"batch_size": 32})
        refused(config, ConfigError, "allows one answer an image: leave out view=same")

    def test_the_cache_of_another_teacher(self, taught, refused, teacher_run, bill, tmp_path):
        start(taught(teacher_run), tmp_path / "other")
        (folder,) = (tmp_path / "answers").iterdir()
        refused(taught(cache=str(folder)), DataError, "is a cache of other answers: teacher is .*, wanted ")

    def test_the_ledger_of_another_teacher(self, taught, refused, tmp_path):
        Ledger(tmp_path / "theirs").bind("another")
        refused(taught(ledger=str(tmp_path / "theirs")), DataError, "counts the calls of teacher another, not of")

    def test_a_budget_below_what_was_spent(self, taught, refused, tmp_path):
        ledger = Ledger(tmp_path / "ours")
        ledger.reserve(torch.arange(200), torch.zeros(200, dtype=torch.int64), budget=None)
        config = taught(ledger=str(tmp_path / "ours"), budget=100, exhausted="skip")
        refused(config, ConfigError, "already holds 200 calls, more than the budget of 100")

    @pytest.mark.parametrize("name", ["ema", "snapshot"])
    @pytest.mark.parametrize("answers", [{"budget": 99, "cache": "auto"}, {"cache": "on"}])
    def test_to_keep_the_answers_of_a_teacher_that_moves(self, name, answers, taught, refused):
        refused(taught(name, **answers), ConfigError, "changes at every step: its answers cannot be kept")

    @pytest.mark.parametrize("answers", [{"budget": 99, "exhausted": "skip"}, {"budget": 99, "plan": "random"}])
    def test_groups_that_are_drawn_where_some_have_no_answer(self, answers, taught, refused):
        method = CKDConfig(sampling="drawn", k=2)
        refused(taught(method=method, **answers), ConfigError, "groups of 2 samples, and some of these would have no")

    def test_groups_of_a_part_of_a_sum_with_the_flag_of_that_part(self, taught, refused):
        method = KDConfig() + CKDConfig() + CKDConfig(sampling="drawn", k=2)
        refused(
            taught(method=method, budget=99, plan="random"), ConfigError, r"in the batch \(--ckd2\.sampling batch\)$"
        )

    def test_a_server_that_is_down(self, taught, refused):
        refused(taught("http://127.0.0.1:9"), TeacherError, "no teacher answers at http://127.0.0.1:9 .*start the")

    def test_a_function_that_does_not_exist(self, taught, refused):
        refused(taught("python:billed:nobody"), TutelageError, "nobody")

    def test_features_of_a_teacher_that_has_none(self, taught, refused):
        refused(taught(method=FitNetConfig()), TutelageError, "stage2")

    def test_the_correction_can_be_started_in_the_same_place(self, taught, refused, bill, tmp_path):
        refused(taught(budget=63), ConfigError, "below the batch")
        assert start(taught(budget=640), tmp_path / "run")["teacher"]["calls"] == 640


class TestBadAnswers:
    """They are seen when the first batch is answered; none is kept and nothing is learnt from them."""

    @pytest.mark.parametrize(
        ("function", "gives", "match"),
        [
            ("nowhere", "logits", "must return finite logits, got NaN or infinity for 64 of 64"),
            ("narrow", "logits", r"must return logits of shape \(64, 10\).* got \(64, 9\)"),
            ("unlikely", "probabilities", "sum to 1 within 0.001, got a sum of 2"),
        ],
    )
    def test_they_are_told_in_one_line(self, function, gives, match, taught, tmp_path):
        with pytest.raises(TeacherError, match=match) as told:
            start(taught(f"python:billed:{function}", gives=gives), tmp_path / "run")
        assert "\n" not in str(told.value)
        assert not (tmp_path / "run/metrics.jsonl").read_text()
        (folder,) = (tmp_path / "answers").iterdir()
        assert len(AnswerStore.at(folder)) == 0


class TestFullDisk:
    def test_it_is_seen_before_the_teacher_is_asked(self, taught, bill, tmp_path, monkeypatch):
        full = SimpleNamespace(total=1, used=1, free=1000)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
        with pytest.raises(RunError, match="the teacher was not asked: free some space, then go on"):
            start(taught(), tmp_path / "run")
        assert billed.bill(bill).total() == 0

    def test_where_it_is_not_foreseen_what_was_kept_stays_and_the_run_goes_on(
        self, taught, bill, tmp_path, monkeypatch
    ):
        put, count = AnswerStore.put, [0]

        def failing(self, *rows):
            count[0] += 1
            if count[0] == 4:
                raise RunError("no space left") from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            put(self, *rows)

        monkeypatch.setattr(AnswerStore, "put", failing)
        with pytest.raises(RunError, match="no space left"):
            start(taught(budget=640), tmp_path / "run")
        assert len(asked(tmp_path / "run")) == 256
        result = resume(tmp_path / "run")
        assert result["teacher"]["calls"] == 640
        assert billed.bill(bill).total() == 640 + 64  # the batch that found no place


class TestServer:
    """A teacher at an address; it may die."""

    HTTP = HttpConfig(backoff=0.001, retries=2, timeout=5.0, concurrency=1)

    def answering(self, function, port=0):
        labels = open_dataset("digits").labels
        return serve(CallableTeacher(function, labels=labels, name="billed"), port=port)

    def contents(self, run):
        files = {path.name: path.read_bytes() for path in run.iterdir() if not path.name.startswith("ledger")}
        return files | {"ledger": asked(run)}

    def test_one_that_dies_is_told_with_what_is_kept_and_the_run_goes_on_with_its_successor(
        self, taught, bill, tmp_path
    ):
        """It dies in the middle of the fifth batch, after two of its four requests."""
        run = tmp_path / "run"

        def dying(images):
            if billed.bill(bill).total() >= 288:
                raise RuntimeError("out of order")
            return billed.answer(images)

        with self.answering(dying) as server:
            config = taught(server.url, http=self.HTTP, batch_size=16, budget=640)
            with pytest.raises(TeacherError, match=r"failed 3 times.*lost: 32 of the 64 samples of this batch") as told:
                start(config, run)
            port = int(server.url.rpartition(":")[2])
        assert "\n" not in str(told.value)
        assert billed.bill(bill).total() == 288
        with self.answering(billed.answer, port=port):
            assert resume(run)["teacher"]["calls"] == 640
        assert billed.bill(bill).total() == 640
        assert set(billed.bill(bill)) == set(billed.shown(open_dataset("digits"), *torch.tensor(sorted(asked(run))).T))

    def test_resuming_while_it_is_down_is_refused_and_changes_nothing(self, taught, bill, tmp_path, capsys):
        run = tmp_path / "run"
        with self.answering(billed.answer) as server, pytest.raises(BudgetError):
            start(taught(server.url, http=self.HTTP, budget=300), run)
        before = self.contents(run)
        with pytest.raises(SystemExit):
            main(["resume", str(run)])
        told = capsys.readouterr().err.strip().splitlines()[-1]
        assert told.startswith("tutelage: no teacher answers at http://127.0.0.1")
        assert self.contents(run) == before

    def test_another_teacher_at_its_address_is_refused(self, taught, bill, tmp_path):
        run = tmp_path / "run"
        with self.answering(billed.answer) as server:
            with pytest.raises(BudgetError):
                start(taught(server.url, http=self.HTTP, budget=300), run)
            port = int(server.url.rpartition(":")[2])
        labels = open_dataset("digits").labels
        other = CallableTeacher(billed.answer, labels=labels, name="another")
        with serve(other, port=port), pytest.raises(DataError, match="counts the calls of teacher"):
            resume(run)
