"""Answers are bought before a run, checked, counted and served from the command line."""

import json
import os
import re
import signal
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tutelage.cli.answers import CACHE
from tutelage.data import Dataset, RandomResizedCrop, open_dataset
from tutelage.models import load_network
from tutelage.teachers import AnswerStore, HttpTeacher, Ledger, LiveTeacher, serve, stores_in
from tutelage.teachers.environment import close, environment
from tutelage.types import Batch

# 647 training digits: ten batches of 64 an epoch, so 640 of them are shown.
RUN = ("--validation", "0.52", "--batch-size", "64", "--engine.accelerator", "cpu", "--engine.precision", "32")
PRECISE = ("--engine.accelerator", "cpu", "--engine.precision", "32")


@pytest.fixture
def fill(said, teacher_run):
    """Fill ``./kept`` for one epoch; what it said."""

    def run(*args, cache="kept", code=None):
        words = ("--teacher", teacher_run, "--teacher.cache", cache, "--epochs", "1", *RUN, *args)
        return said("cache", "fill", *words, code=code)

    return run


def counts(text):
    """Asked, wanted and held, as a fill says them."""
    found = re.search(r"([\d,]+) of ([\d,]+) answers were asked for and ([\d,]+) were there", text)
    return tuple(int(number.replace(",", "")) for number in found.groups())


def the_store(folder="kept"):
    (store,) = stores_in(Path(folder))
    return store


def distilled(said, *args):
    """The result of the distil run with these flags."""
    said("distill", "--epochs", "1", *RUN, *args, "--out", "run")
    return json.loads(Path("run/result.json").read_text())


def tampered(store):
    """Change one answer where it is stored; its (id, view)."""

    def spoil(transaction):
        cursor = transaction.cursor()
        assert cursor.last()
        key, node = cursor.item()
        numbers = np.frombuffer(node[2:], np.float16).copy()
        numbers[0] += 4
        transaction.put(key, node[:2] + numbers.tobytes())

    environment(store.path).write(spoil)


class TestFill:
    def test_the_run_that_follows_asks_nothing(self, said, fill, teacher_run):
        assert counts(fill()) == (640, 640, 0)
        result = distilled(said, "--teacher", teacher_run, "--teacher.cache", "kept")
        assert result["teacher"]["calls"] == 0
        assert len(the_store()) == 640

    def test_it_asks_exactly_what_the_run_asks(self, said, fill, teacher_run):
        fill("--seed", "3")
        distilled(said, "--teacher", teacher_run, "--teacher.cache", "other", "--seed", "3")
        ours, theirs = (
            {
                pair
                for ids, views, _ in the_store(name).scan()
                for pair in zip(ids.tolist(), views.tolist(), strict=True)
            }
            for name in ("kept", "other")
        )
        assert ours == theirs

    @pytest.mark.slow
    def test_the_config_of_a_run_is_enough(self, said, teacher_run):
        result = distilled(said, "--teacher", teacher_run, "--teacher.cache", "kept", "--seed", "5")
        assert result["teacher"]["calls"] == 640
        assert counts(said("cache", "fill", "run/config.json")) == (0, 640, 640)
        assert counts(said("cache", "fill", "run/config.json", "--teacher.cache", "new")) == (640, 640, 0)

    def test_what_is_there_is_not_asked_again(self, fill):
        fill()
        asked, wanted, held = counts(fill("--epochs", "3"))
        assert asked + held == wanted
        assert held >= 640
        assert counts(fill("--epochs", "3")) == (0, wanted, wanted)

    @pytest.mark.slow
    def test_all_views_serve_every_seed_and_are_packed(self, said, fill, teacher_run):
        assert counts(fill("--all-views")) == (647 * 9, 647 * 9, 0)  # a padding of 1 and no mirror: 9 views
        assert the_store().pack > 1
        assert (
            distilled(said, "--teacher", teacher_run, "--teacher.cache", "kept", "--seed", "9")["teacher"]["calls"] == 0
        )

    def test_one_view_an_image_is_one_call_however_many_epochs(self, fill):
        assert counts(fill("--teacher.view", "once", "--epochs", "5")) == (647, 647, 0)
        assert counts(fill("--teacher.view", "plain", "--epochs", "5"))[1] == 647

    def test_the_protocol_says_what_may_be_sent(self, said, fill, teacher_run):
        few = ("--protocol", "few-teacher-calls", "--few-teacher-calls.subset-size", "200", "--batch-size", "32")
        assert counts(fill(*few, "--few-teacher-calls.unused", "labels", "--epochs", "2")) == (160, 160, 0)
        assert distilled(said, "--teacher", teacher_run, "--teacher.cache", "kept", *few)["teacher"]["calls"] == 0

    def test_a_plan_buys_what_the_run_would_buy(self, said, fill, teacher_run):
        plan = ("--teacher.budget", "100", "--teacher.plan", "balanced", "--epochs", "3")
        assert counts(fill(*plan)) == (100, 100, 0)
        result = distilled(said, "--teacher", teacher_run, "--teacher.cache", "kept", *plan)
        assert result["teacher"]["calls"] == 0

    def test_a_server_is_asked_once_for_each_view(self, said, fill, teacher_run):
        with serve(load_network(teacher_run)) as server:
            assert counts(fill("--teacher", server.url)) == (640, 640, 0)
            assert counts(fill("--teacher", server.url)) == (0, 640, 640)
            assert server.answered == 640
            words = ("cache", "verify", "kept", "--teacher", server.url, *PRECISE)
            assert "name the data" in said(*words, code=2)
            assert "100 answers, largest" in said(*words, "--data", "digits", "--sample", "100")
            assert server.answered == 740

    def test_features_that_the_method_reads_are_kept(self, said, fill, teacher_run):
        assert counts(fill("--method", "rkd")) == (640, 640, 0)
        assert dict(the_store().subject.content.taps).keys() == {"embedding"}
        result = distilled(said, "--teacher", teacher_run, "--teacher.cache", "kept", "--method", "rkd")
        assert result["teacher"]["calls"] == 0

    def test_the_cost_is_that_of_the_new_answers(self, fill):
        assert "cost 6.4\n" in fill("--teacher.price-per-call", "0.01")
        assert "cost 0\n" in fill("--teacher.price-per-call", "0.01")

    def test_it_says_when_a_run_would_not_look(self, fill, monkeypatch):
        monkeypatch.setenv("TUTELAGE_CACHE", "mine")
        assert "--teacher.cache on" in fill(cache="auto")
        assert "--teacher.cache on" not in fill("--teacher.view", "once", cache="auto")
        assert "--teacher.cache on" not in fill()

    def test_the_budget_counts_all_fills_and_is_never_exceeded(self, fill):
        some = ("--teacher.budget", "200", "--teacher.exhausted", "skip")
        text = fill(*some)
        assert counts(text) == (200, 640, 0)
        assert "440 without an answer" in text
        assert counts(fill(*some)) == (0, 640, 200)
        assert len(Ledger(the_store().path / "ledger.sqlite")) == len(the_store()) == 200

    def test_a_budget_in_part_is_not_spent_on_one_class(self, fill):
        fill("--teacher.budget", "200", "--teacher.exhausted", "skip")
        ids = torch.cat([ids for ids, _, _ in the_store().scan()])
        assert open_dataset("digits").train.labels[ids].bincount().min() >= 10

    def test_a_budget_that_does_not_suffice_is_refused_before_anything_is_sent(self, fill):
        text = fill("--teacher.budget", "639", code=2)
        assert "sends 640 images and the budget of 639 teacher calls has room for 639; none was sent" in text
        assert text.count("\n") == 1
        assert len(the_store()) == 0

    def test_what_a_dead_process_had_reserved_does_not_count_twice(self, fill):
        fill("--teacher.budget", "640")
        store = the_store()
        ids, views, rows = next(iter(store.scan()))
        close(store.path)
        (store.path / "data.mdb").unlink()
        store = AnswerStore(store.path.parent, store.subject)
        store.put(ids[:600], views[:600], rows[:600])
        assert counts(fill("--teacher.budget", "640")) == (40, 640, 600)

    def test_a_fill_that_is_stopped_keeps_what_came(self, fill, monkeypatch):
        answer, calls = LiveTeacher.__call__, []

        def slow(self, batch):
            calls.append(len(batch.ids))
            if len(calls) == 2:
                os.kill(os.getpid(), signal.SIGINT)
            return answer(self, batch)

        monkeypatch.setattr(LiveTeacher, "__call__", slow)
        text = fill("--teacher.price-per-call", "1", code=130)
        assert "stopped: " in text
        assert text.count("\n") == 1
        held = len(the_store())
        assert f"{held} answers came and are kept" in text
        assert 0 < held < 640
        assert counts(fill("--teacher.price-per-call", "1")) == (640 - held, 640, held)

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            (("--teacher.cache", "off"), "leave out --teacher.cache off"),
            (("--teacher", "ema"), "its answers cannot be kept"),
            (("--all-views", "--teacher.view", "once"), "leave out --all-views"),
        ],
    )
    def test_what_cannot_be_filled_is_refused_in_one_line(self, fill, args, message):
        text = fill(*args, code=2)
        assert message in text
        assert text.count("\n") == 1

    def test_a_teacher_is_needed(self, said):
        assert "a teacher is needed: --teacher" in said("cache", "fill", *RUN, code=2)

    @pytest.mark.slow
    def test_where_every_epoch_draws_new_views_they_are_filled_by_epoch_and_seed(
        self, said, fill, teacher_run, endless
    ):
        assert counts(fill("--epochs", "2", "--seed", "4")) == (1280, 1280, 0)
        result = distilled(said, "--teacher", teacher_run, "--teacher.cache", "kept", "--seed", "4")
        assert result["teacher"]["calls"] == 0
        words = ("cache", "verify", "kept", "--teacher", teacher_run, *PRECISE)
        assert "256 answers" in said(*words, "--seed", "4")
        assert "views is random-resized-crop" in said(*words, "--seed", "5", code=2)

    def test_endless_views_have_no_all(self, fill, endless):
        text = fill("--all-views", code=2)
        assert "no end of views" in text
        assert text.count("\n") == 1

    def test_the_plain_image_is_one_of_endless_views(self, said, fill, teacher_run, endless):
        words = ("--teacher.view", "plain", "--epochs", "3")
        asked, wanted, _ = counts(fill(*words))
        assert asked == wanted <= 647
        result = distilled(said, "--teacher", teacher_run, "--teacher.cache", "kept", *words)
        assert result["teacher"]["calls"] == 0


@pytest.fixture
def endless(monkeypatch):
    """Digits are cropped like photographs."""
    monkeypatch.setattr(Dataset, "views", lambda self, *, seed: RandomResizedCrop(8, seed=seed))


class TestVerify:
    def test_a_good_cache_is_within_the_rounding(self, said, fill, teacher_run):
        fill()
        text = said("cache", "verify", "kept", "--teacher", teacher_run, *PRECISE)
        found = re.fullmatch(r"kept/\w{16}: 256 answers, largest difference ([\d.e-]+)\n", text)
        assert float(found[1]) <= 2**-6

    def test_one_answer_that_was_changed_is_found(self, said, fill, teacher_run):
        fill()
        tampered(the_store())
        words = ("cache", "verify", "kept", "--teacher", teacher_run, "--sample", "640", *PRECISE)
        text = said(*words, code=2)
        assert re.search(r"answers differ from what the teacher answers now: kept/\w{16} by up to (3\.99|4)", text)
        assert text.count("\n") == 1
        assert "640 answers" in said(*words, "--tolerance", "5")

    def test_another_teacher_is_refused(self, said, fill, teacher_run):
        fill()
        said("teach", "digits", "--model", "zoo:digits_large", "--epochs", "1", *RUN, "--out", "other")
        text = said("cache", "verify", "kept", "--teacher", "other", *PRECISE, code=2)
        ours, theirs = (load_network(path).fingerprint() for path in (Path("other"), teacher_run))
        assert f"kept holds no answers of teacher {ours} to digits (teacher is {theirs}, wanted {ours})" in text
        assert text.count("\n") == 1

    def test_the_precision_is_a_part_of_the_teacher(self, said, fill, teacher_run):
        fill()
        words = ("--engine.accelerator", "cpu", "--engine.precision", "bf16")
        assert "another precision" in said("cache", "verify", "kept", "--teacher", teacher_run, *words, code=2)

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            (("kept",), "a teacher is needed"),
            (("nowhere", "--teacher", "TEACHER"), "no folder nowhere"),
            (("kept", "--teacher", "python:math:sqrt"), "name the data"),
            (("kept", "--teacher", "TEACHER", "--tolerance", "-1"), "must be 0 or more, got -1"),
        ],
    )
    def test_a_mistake_is_one_line(self, said, teacher_run, args, message):
        Path("kept").mkdir()
        text = said("cache", "verify", *(teacher_run if word == "TEACHER" else word for word in args), *PRECISE, code=2)
        assert message in text
        assert text.count("\n") == 1


class TestStats:
    def test_it_shows_each_cache(self, said, fill, teacher_run):
        fill()
        fill("--teacher.top", "2", "--seed", "1")
        text = said("cache", "stats", "kept")
        assert text.count(load_network(teacher_run).fingerprint()) == 2
        assert all(word in text for word in ("10 logits", "top 2 of 10", "640", "crop-flip(padding=1,flip=False)"))
        assert all(store.path.name in text for store in stores_in(Path("kept")))

    def test_nothing_is_told_apart_from_nowhere(self, said, monkeypatch):
        monkeypatch.setenv("TUTELAGE_CACHE", "empty")
        assert "empty/answers holds no caches" in said("cache", "stats")
        assert "there is no folder nowhere" in said("cache", "stats", "nowhere", code=2)


class TestMerge:
    def test_answers_of_two_fills_become_one_cache(self, said, fill):
        fill("--seed", "1", cache="a")
        fill("--seed", "2", cache="b")
        said("cache", "merge", "both", "a", "b")
        text = said("cache", "merge", the_store("a").path, "b")
        assert len(the_store("a")) == len(the_store("both")) > 640
        assert f"{len(the_store('a')) - 640:,} answers came from b/" in text
        assert len(the_store("b")) == 640

    @pytest.mark.slow
    def test_packed_answers_stay_packed(self, said, fill):
        fill("--all-views", cache="a")
        said("cache", "merge", "both", "a")
        assert the_store("both").pack == the_store("a").pack > 1

    def test_answers_of_another_kind_are_refused_before_anything_is_copied(self, said, fill):
        fill("--seed", "1", cache="a")
        fill("--seed", "2", cache="b")
        fill("--teacher.top", "2", cache="c")
        assert "cache of other answers: content is" in said("cache", "merge", the_store("a").path, "b", "c", code=2)
        assert len(the_store("a")) == 640

    def test_a_cache_is_not_merged_into_itself(self, said, fill):
        fill()
        assert "merged into itself" in said("cache", "merge", "kept", the_store().path, code=2)
        assert "nothing to merge: no caches in empty" in said("cache", "merge", "kept", empty(), code=2)


def empty():
    Path("empty").mkdir()
    return "empty"


class TestPrune:
    def test_it_deletes_what_is_not_kept_when_it_is_told_to(self, said, fill, teacher_run):
        fill()
        said("teach", "digits", "--epochs", "1", *RUN, "--out", "other")
        fill("--teacher", "other", "--allow-bad-teacher")
        assert len(stores_in(Path("kept"))) == 2
        keep = load_network(teacher_run).fingerprint()
        text = said("cache", "prune", "kept", "--keep", keep)
        assert f"teacher {load_network(Path('other')).fingerprint()}, 640 answers" in text
        assert "1 of 2 caches would be deleted, and were not: add --delete" in text
        assert len(stores_in(Path("kept"))) == 2
        assert "1 of 2 caches were deleted" in said("cache", "prune", "kept", "--keep", keep, "--delete")
        assert the_store().subject.teacher == keep

    def test_a_teacher_that_was_mistyped_deletes_nothing(self, said, fill):
        fill()
        assert "unknown teacher 'mine'" in said("cache", "prune", "kept", "--delete", "--keep", "mine", code=2)
        assert "name at least one teacher to keep" in said("cache", "prune", "kept", "--delete", code=2)
        assert "is one cache" in said("cache", "prune", the_store().path, "--delete", "--keep", "mine", code=2)
        assert len(the_store()) == 640


class TestLedger:
    def test_it_tells_calls_and_cost_of_a_run_a_cache_and_a_file(self, said, fill, teacher_run):
        fill("--teacher.price-per-call", "0.5")
        distilled(said, "--teacher", teacher_run, "--teacher.cache", "other", "--teacher.ledger", "book.sqlite")
        text = said("cache", "ledger", the_store().path, "run", "book.sqlite")
        rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│")]
        assert [row[1:5] for row in rows] == [["640", "640", "0", "320"], *[["640", "640", "0", "0"]] * 2]
        assert rows[1][0] == rows[2][0] == "book.sqlite"

    def test_every_call_is_a_line(self, said):
        ledger, ids = Ledger(Path("book.sqlite"), run="first"), torch.tensor([4, 7])
        ledger.reserve(ids, ids, budget=None, cost=0.25)
        ledger.pay(ids[:1], ids[:1])
        lines = [
            line.split("\t") for line in said("cache", "ledger", "book.sqlite", "--calls").splitlines() if "\t" in line
        ]
        assert lines[0] == ["who", "when", "id", "view", "state", "cost"]
        assert [[line[0], *line[2:]] for line in lines[1:]] == [
            ["first", "4", "4", "paid", "0.25"],
            ["first", "7", "7", "reserved", "0.25"],
        ]
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", line[1]) for line in lines[1:])

    def test_a_run_without_one_is_one_clear_line(self, said, teacher_run):
        text = said("cache", "ledger", teacher_run, code=2)
        assert "there is no ledger at" in text
        assert text.count("\n") == 1
        assert not (teacher_run / "ledger.sqlite").exists()

    def test_a_file_that_is_none_is_not_touched(self, said, teacher_run):
        file = teacher_run / "config.json"
        before = file.read_bytes()
        assert "is not a ledger" in said("cache", "ledger", file, code=2)
        assert file.read_bytes() == before


class TestServeTeacher:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_it_answers_like_the_network_until_it_is_stopped(self, said, teacher_run, number):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        got = []

        def ask():
            # It listens after it has taken over the signals: what is reached can be stopped.
            for _ in range(100):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            teacher = HttpTeacher(f"http://127.0.0.1:{port}")
            try:
                got.extend([teacher.fingerprint, teacher(batch).logits])
            finally:
                teacher.close()
                os.kill(os.getpid(), number)

        images = open_dataset("digits").train.images[:20].permute(0, 3, 1, 2)
        ids = torch.arange(20)
        batch = Batch(images, ids, ids, ids)
        asking = threading.Thread(target=ask)
        asking.start()
        text = said("serve-teacher", teacher_run, "--port", port, "--batch-size", "7", "--accelerator", "cpu")
        asking.join()
        network = load_network(teacher_run)
        assert got[0] == network.fingerprint()
        torch.testing.assert_close(got[1], LiveTeacher(network)(batch).logits)
        assert f"answers at http://127.0.0.1:{port}; Ctrl-C stops it\nstopped; 20 images were answered\n" in text

    def test_mistakes_are_one_line(self, said, teacher_run):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            words = ("--accelerator", "cpu", "--port", port)
            assert "choose another port" in said("serve-teacher", teacher_run, *words, code=2)
        assert "no network at nowhere" in said("serve-teacher", "nowhere", code=2)
        assert "must be at least 1, got 0" in said("serve-teacher", teacher_run, "--batch-size", "0", code=2)


class TestHelp:
    @pytest.mark.parametrize("name", CACHE)
    def test_every_command_of_cache_explains_itself(self, said, name):
        assert f"tutelage cache {name}" in said("cache", name, "--help", code=0)

    def test_cache_alone_names_them_and_a_wrong_one_is_one_line(self, said):
        assert all(f"tutelage cache {name} " in said("cache", code=0) for name in CACHE)
        assert "unknown cache command 'fil'; the nearest of 6: fill" in said("cache", "fil", code=2)
