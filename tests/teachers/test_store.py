"""What is put in a store comes out of it: after kills, from other processes, and when the disk is full."""

import os
import resource
import shutil
from collections import namedtuple

import pytest
import torch

from tutelage.errors import DataError, RunError, ShapeError
from tutelage.teachers import AnswerStore, Stats, environment, merge, prune, stats, stores_in
from tutelage.teachers.store import _views_a_node


def rows(n, width=10, seed=0):
    return torch.randint(0, 256, (n, width), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def pairs(n, num_views=7):
    number = torch.randperm(n, generator=torch.Generator().manual_seed(n))
    return number // num_views, number % num_views


both = pytest.mark.parametrize("dense", [False, True])


@both
def test_rows_come_back_in_the_order_that_is_asked_with_zeros_where_there_is_none(make_store, dense):
    store = make_store(dense=dense)
    ids, views = pairs(60)
    given = rows(60)
    store.put(ids[:40], views[:40], given[:40])
    back, known = store.get(ids, views)
    assert known.tolist() == [True] * 40 + [False] * 20
    assert torch.equal(back, torch.where(known[:, None], given, torch.zeros_like(given)))
    assert len(store) == 40


@both
def test_a_sample_that_is_asked_twice_in_a_batch_is_answered_twice(make_store, dense):
    store, two = make_store(dense=dense), rows(2)
    store.put(torch.tensor([1, 2]), torch.tensor([0, 3]), two)
    back, known = store.get(torch.tensor([2, 9, 1, 2]), torch.tensor([3, 0, 0, 3]))
    assert known.tolist() == [True, False, True, True]
    assert torch.equal(back[[0, 2, 3]], two[[1, 0, 1]])


def test_nothing_may_be_asked_and_put(make_store):
    store, none = make_store(), torch.zeros(0, dtype=torch.int64)
    store.put(none, none, rows(0))
    assert store.get(none, none)[0].shape == (0, 10)
    assert list(store.scan()) == []


@both
def test_an_answer_that_is_there_stays_as_it_is(make_store, dense):
    store, one = make_store(dense=dense), torch.tensor([5])
    store.put(one, one, rows(1))
    store.put(torch.tensor([5, 5]), torch.tensor([4, 5]), rows(2, seed=1))
    assert torch.equal(store.get(one, one)[0], rows(1))
    assert len(store) == 2


def test_the_largest_id_and_view_are_kept_and_others_refused(make_store):
    store, one = make_store(), torch.tensor([0])
    store.put(one + 2**63 - 1, one + 2**32 - 1, rows(1))
    assert store.get(one + 2**63 - 1, one + 2**32 - 1)[1].all()
    for ids, views in [(one - 1, one), (one, one - 1), (one, one + 2**32)]:
        with pytest.raises(ShapeError, match="below 2"):
            store.get(ids, views)
    with pytest.raises(ShapeError, match="wanted 1 rows of 10 bytes"):
        store.put(one, one, rows(1, 9))


@both
def test_scanning_gives_every_answer_once_in_order(make_store, dense):
    store, given = make_store(dense=dense), rows(60)
    ids, views = pairs(60)
    store.put(ids, views, given)
    found = [torch.cat(part) for part in zip(*store.scan(5), strict=True)]
    order = (ids * 7 + views).argsort()
    assert torch.equal(found[0], ids[order])
    assert torch.equal(found[1], views[order])
    assert torch.equal(found[2], given[order])


def test_a_store_grows_and_other_processes_follow(make_store, forked, monkeypatch):
    monkeypatch.setattr(environment, "FIRST_SIZE", 64 * 1024)
    store, ids = make_store(classes=500), torch.arange(300)
    store.put(ids[:1], ids[:1], rows(1, 1000))

    def other():
        store.put(ids, ids, rows(300, 1000))

    assert os.waitpid(forked(other), 0)[1] == 0
    assert store.num_bytes > 64 * 1024
    assert store.get(ids, ids)[1].all()
    store.put(ids + 300, ids, rows(300, 1000))
    assert len(store) == 600


@pytest.mark.parametrize("name", ["teacher", "views", "data"])
def test_the_cache_of_another_subject_is_refused_and_the_message_says_what_differs(make_store, tmp_path, name):
    store = make_store()
    with pytest.raises(DataError, match=f"other answers: {name} is .*, wanted another"):
        make_store(folder=store.path.relative_to(tmp_path), **{name: "another"})
    assert make_store(**{name: "another"}).path != store.path


def test_the_cache_of_other_content_is_refused(make_store, tmp_path):
    store = make_store()
    with pytest.raises(DataError, match=r"content is .*num_classes"):
        make_store(folder=store.path.relative_to(tmp_path), top=2)


def test_a_store_is_found_by_its_folder_alone(make_store):
    store = make_store(taps=(("stage", (2, 3)),), dense=True)
    again = AnswerStore.at(store.path)
    assert again.subject == store.subject
    assert again.pack == store.pack > 1


def test_a_folder_without_a_store_and_a_damaged_store_are_said_to_be_so(tmp_path):
    with pytest.raises(DataError, match="there is no cache"):
        AnswerStore.at(tmp_path / "none")
    (tmp_path / "data.mdb").write_bytes(b"no store" * 1024)
    with pytest.raises(DataError, match="cannot be opened"):
        AnswerStore.at(tmp_path)


def test_a_store_that_was_only_begun_is_none_yet_and_its_maker_goes_on(make_store, tmp_path):
    path = tmp_path / "caches" / make_store(folder="elsewhere").path.name
    environment.environment(path, create=True)  # all that its maker did before another process looked
    assert stores_in(tmp_path / "caches") == []
    with pytest.raises(DataError, match="is not a cache"):
        AnswerStore.at(path)
    made = make_store()
    assert made.path == path
    assert [store.path for store in stores_in(tmp_path / "caches")] == [path]


def test_processes_that_make_a_store_and_look_for_it_at_the_same_moment_all_succeed(make_store, forked, tmp_path):
    folder = tmp_path / "caches"
    for trial in range(20):
        folder.mkdir()
        children = [forked(lambda: (stores_in(folder), make_store(), stores_in(folder))) for _ in range(4)]
        assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4, trial
        shutil.rmtree(folder)


def test_a_full_disk_is_a_clear_error_and_loses_nothing(make_store, forked):
    store, ids = make_store(classes=500), torch.arange(200)
    store.put(ids[:10], ids[:10], rows(10, 1000))

    def other():
        make_store(classes=500).get(ids, ids)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        with pytest.raises(RunError, match="what was saved before is untouched"):
            store.put(ids, ids, rows(200, 1000))
        assert int(store.get(ids, ids)[1].sum()) == 10
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        store.put(ids[:20], ids[:20], rows(20, 1000))

    assert os.waitpid(forked(other), 0)[1] == 0
    assert len(store) == 20
    assert torch.equal(store.get(ids[:10], ids[:10])[0], rows(10, 1000))


def test_room_is_looked_for_before_anything_is_paid(make_store, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**30, 2**30, 1000))
    with pytest.raises(RunError, match="the teacher was not asked"):
        make_store().check_room(1)


def test_four_processes_write_at_once_and_all_is_there(make_store, forked):
    store = make_store()  # opened before the fork, and used after it

    def writer(k):
        def work():
            for i in range(5):
                ids = torch.arange(10) + 10 * i
                make_store().put(ids, ids * 0 + k, rows(10, seed=k))

        return work

    children = [forked(writer(k)) for k in range(4)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert len(store) == 200
    for k in range(4):
        assert torch.equal(store.get(torch.arange(10), torch.full((10,), k))[0], rows(10, seed=k))


def test_merging_adds_what_is_missing_and_refuses_other_subjects(make_store):
    one, two, ids = make_store(folder="a"), make_store(folder="b", dense=True), torch.arange(8)
    one.put(ids[:5], ids[:5], rows(5))
    two.put(ids[3:], ids[3:], rows(5, seed=1))
    assert merge(one, [two]) == 3
    assert torch.equal(one.get(ids, ids)[0], torch.cat([rows(5), rows(5, seed=1)[2:]]))
    with pytest.raises(DataError, match="differ in teacher"):
        merge(one, [two, make_store(folder="c", teacher="another")])


def test_stats_name_every_cache_and_pruning_deletes_those_of_other_teachers(make_store, tmp_path):
    one, two = make_store(), make_store(teacher="another")
    one.put(torch.tensor([1]), torch.tensor([1]), rows(1))
    found = {each.subject.teacher: each for each in stats(tmp_path / "caches")}
    assert found["counting"] == Stats(one.path, one.subject, 1, one.num_bytes)
    assert found["another"].answers == 0
    assert prune(tmp_path / "caches", keep=["counting"]) == [two.path]
    assert two.path.exists()
    prune(tmp_path / "caches", keep=["counting"], dry_run=False)
    assert [each.path for each in stats(tmp_path / "caches")] == [one.path]
    assert len(make_store(teacher="another")) == 0  # made anew in the same process


def test_all_views_of_cifar_fit_in_1_8_gb(make_store):
    ids, views = torch.arange(120).repeat_interleave(162), torch.arange(162).repeat(120)
    store = make_store(classes=100, dense=True)
    for part in torch.arange(120 * 162).split(2000):
        store.put(ids[part], views[part], torch.zeros(len(part), 200, dtype=torch.uint8))
    assert len(store) == 120 * 162
    assert store.num_bytes / len(store) * 50_000 * 162 < 1.8e9


def test_views_share_a_node_only_where_that_saves_space():
    assert _views_a_node(200) == 10
    assert _views_a_node(5000) == 1
