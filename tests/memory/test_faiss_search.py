"""FAISS where it is installed, and a stand-in of a flat index, which speaks as FAISS does, everywhere."""

import re
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tutelage.errors import ConfigError, MissingExtraError
from tutelage.memory import BlockwiseSearch, Graph, graph_fingerprint, measured_recall, neighbours
from tutelage.memory.faiss_search import FaissSearch


class Flat:
    is_trained = True

    def __init__(self, width):
        self.rows = np.zeros((0, width), np.float32)

    @property
    def ntotal(self):
        return len(self.rows)

    def add(self, rows):
        self.rows = rows

    def search(self, queries, k, params=None):
        assert queries.dtype == self.rows.dtype == np.float32
        scores = queries @ self.rows.T
        if params is not None:
            scores[:, params.sel.low : params.sel.high] = -np.inf
        at = np.argsort(-scores, axis=1)[:, :k]
        return np.take_along_axis(scores, at, 1), np.where(np.isinf(np.take_along_axis(scores, at, 1)), -1, at)


def stand_in(gpus=0):
    return SimpleNamespace(
        IndexFlatIP=Flat,
        IDSelectorRange=lambda low, high: SimpleNamespace(low=low, high=high),
        IDSelectorNot=lambda inside: inside,
        SearchParameters=SimpleNamespace,
        get_num_gpus=lambda: gpus,
        index_cpu_to_all_gpus=lambda index: index,
        omp_set_num_threads=lambda count: None,
    )


@pytest.fixture(params=["stand-in", "installed"])
def faiss(request, monkeypatch):
    if request.param == "stand-in":
        monkeypatch.setitem(sys.modules, "faiss", stand_in())
        return
    with warnings.catch_warnings():  # SWIG's types lack a __module__, which Python deprecates
        warnings.simplefilter("ignore", DeprecationWarning)
        pytest.importorskip("faiss", reason="needs the extra 'faiss'")


@pytest.fixture
def installed():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pytest.importorskip("faiss", reason="needs the extra 'faiss'")


def equal(one, other):
    return all(mine.equal(theirs) for mine, theirs in zip(one, other, strict=True))


@pytest.mark.usefixtures("faiss")
def test_a_flat_index_finds_what_exact_search_finds(clustered):
    rows = clustered(300, 5)
    assert equal(neighbours(rows, search=FaissSearch()), neighbours(rows))


@pytest.mark.usefixtures("faiss")
def test_queries_of_a_class_without_rows_or_with_another_label_than_their_row(clustered):
    rows = clustered(300, 5)
    queries = rows.pick(torch.arange(20))._replace(labels=torch.arange(20) % 7)
    assert equal(neighbours(rows, queries=queries, search=FaissSearch()), neighbours(rows, queries=queries))


@pytest.mark.usefixtures("faiss")
def test_lists_longer_than_the_other_classes_end_in_padding(clustered):
    rows = clustered(20, 2)
    assert equal(neighbours(rows, k_other=30, search=FaissSearch()), neighbours(rows, k_other=30))


@pytest.mark.usefixtures("faiss")
def test_a_graph_by_faiss_has_a_fingerprint_of_its_own(clustered):
    rows = clustered(100, 5)
    graph = Graph.build(rows, search=FaissSearch())
    assert graph.fingerprint == graph_fingerprint(rows, search=FaissSearch()) != graph_fingerprint(rows)


def test_a_gpu_passes_by_the_class_and_sifts(clustered, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", stand_in(gpus=1))
    rows = clustered(300, 5)
    assert equal(neighbours(rows, search=FaissSearch(gpu=True)), neighbours(rows))
    large = clustered(4200, 2, 4)
    with pytest.raises(ConfigError, match=r"at most 2048 rows from a GPU, and 2\d\d\d are needed"):
        neighbours(large, search=FaissSearch(gpu=True))


def test_a_gpu_that_is_not_there_is_refused(clustered, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", stand_in(gpus=0))
    with pytest.raises(ConfigError, match="sees no GPU"):
        neighbours(clustered(30, 2), search=FaissSearch(gpu=True))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("search", "least"),
    [
        (FaissSearch(kind="ivf", cells=40, probes=40), 1.0),
        (FaissSearch(kind="ivf", cells=40, probes=20), 0.9),
        (FaissSearch(kind="hnsw", breadth=600), 0.9),
    ],
)
def test_approximate_indices_find_most_and_score_it_exactly(clustered, search, least):
    rows = clustered(2000, 10)
    found = neighbours(rows, search=search)
    measured = measured_recall(rows, found, sample=300)
    assert measured.same == 1
    assert measured.other >= least
    at = found.other.clamp(min=0)
    scores = (rows.features.unsqueeze(1) * rows.features[at]).sum(-1)
    assert found.other_similarity.equal(scores.where(found.other_mask, -torch.inf))
    assert (rows.labels[at] != rows.labels.unsqueeze(1))[found.other_mask].all()


@pytest.mark.usefixtures("installed")
def test_fewer_probes_find_less(clustered):
    rows = clustered(2000, 10)
    one, many = (
        measured_recall(rows, neighbours(rows, search=FaissSearch(kind="ivf", cells=40, probes=probes))).other
        for probes in (4, 20)
    )
    assert one < many


def test_without_faiss_the_message_has_the_install_command(clustered, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'tutelage[faiss]'")):
        neighbours(clustered(30, 2), search=FaissSearch())


@pytest.mark.usefixtures("own_messages")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "pq"}, "kind must be 'flat', 'ivf' or 'hnsw', got 'pq'"),
        ({"probes": 0}, "probes must be at least 1, got 0"),
        ({"cells": 0}, "cells must be at least 1, got 0"),
        ({"kind": "hnsw", "gpu": True}, "no 'hnsw' on a GPU"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        FaissSearch(**settings)


def test_what_the_answer_depends_on_is_its_identity():
    searches = [
        FaissSearch(),
        FaissSearch(kind="ivf"),
        FaissSearch(kind="ivf", probes=3),
        FaissSearch(kind="ivf", cells=3),
        FaissSearch(kind="hnsw"),
        FaissSearch(kind="hnsw", breadth=3),
        BlockwiseSearch(),
        BlockwiseSearch(compute="bfloat16"),
    ]
    assert len({search.identity for search in searches}) == len(searches)
