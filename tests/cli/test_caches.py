"""Products of stages are listed and pruned beside the caches of answers."""

from pathlib import Path

import pytest

from tutelage.engine.products import products_folder
from tutelage.models import load_network

RUN = ("--validation", "0.52", "--epochs", "1", "--engine.accelerator", "cpu", "--engine.precision", "32")


@pytest.fixture
def kept(said, teacher_run, monkeypatch, tmp_path):
    """A cache of one answer store and one auto-encoder of one teacher; the fingerprint and the file of the second."""
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))
    words = ("--method", "ft", "--teacher", teacher_run, "--teacher.cache", "on", *RUN, "--out", "run")
    said("distill", "digits", *words)
    (file,) = products_folder().iterdir()
    return load_network(teacher_run).fingerprint(), file


class TestProducts:
    def test_they_are_listed_with_their_stage_and_size(self, said, kept):
        teacher, file = kept
        text = said("cache", "stats")
        (line,) = (line for line in text.splitlines() if file.stem in line)
        size = f"{file.stat().st_size / 2**20:,.2f}"
        assert all(word in line for word in (teacher, "auto_encoder", size))
        assert "10 logits, stage2" in text  # the answers are shown too
        assert file.stem in said("cache", "stats", file.parent)

    def test_they_are_pruned_with_the_answers_of_their_teacher(self, said, kept, monkeypatch):
        teacher, file = kept
        assert "0 of 1 caches and 0 of 1 products were deleted" in said("cache", "prune", "--keep", teacher, "--delete")
        words = ("cache", "prune", "--keep", "other")
        assert "unknown teacher 'other'" in said(*words, code=2)
        (file.parent / f"{0:032x}.safetensors").write_bytes(b"torn")
        text = said("cache", "prune", "--keep", teacher)
        assert "damaged" in text
        assert "0 of 1 caches and 1 of 2 products would be deleted, and were not: add --delete" in text
        said("cache", "prune", "--keep", teacher, "--delete")
        assert list(file.parent.iterdir()) == [file]

    def test_a_folder_of_products_alone_can_be_pruned(self, said, kept, teacher_run):
        _, file = kept
        said("teach", "digits", "--model", "zoo:digits_large", *RUN, "--out", "other")
        other = ("--method", "ft", "--teacher", "other", "--allow-bad-teacher", *RUN, "--out", "second")
        said("distill", "digits", *other)
        text = said("cache", "prune", file.parent, "--keep", load_network(Path("other")).fingerprint(), "--delete")
        assert "1 of 2 products were deleted" in text
        assert "auto_encoder, 0." in text
        assert not file.exists()
        assert len(list(file.parent.iterdir())) == 1
