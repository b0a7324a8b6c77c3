"""The files of a run are whole or absent, whatever happens while they are written."""

import errno
import json

import pytest

from tutelage.errors import DataError, RunError
from tutelage.rundir import RunDir, saving


def write_then_fail(target, error):
    with saving(target) as scratch:
        scratch.write_text("ha")
        raise error


class TestSaving:
    def test_the_file_is_there_after_the_block_and_not_before(self, tmp_path):
        target = tmp_path / "deep" / "a.txt"
        with saving(target) as scratch:
            scratch.write_text("whole")
            assert not target.exists()
        assert target.read_text() == "whole"

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_an_error_leaves_the_older_file_and_nothing_else(self, tmp_path, error):
        target = tmp_path / "a.txt"
        target.write_text("old")
        with pytest.raises(error):
            write_then_fail(target, error("no"))
        assert target.read_text() == "old"
        assert list(tmp_path.iterdir()) == [target]

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
    def test_a_full_disk_is_said_in_plain_words(self, tmp_path, number):
        target = tmp_path / "a.txt"
        target.write_text("old")
        with pytest.raises(RunError, match=r"no space left to write .*a\.txt .*free some space, then"):
            write_then_fail(target, OSError(number, "full"))
        assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]

    def test_a_disk_that_cannot_be_written_is_said_in_plain_words(self, tmp_path):
        with pytest.raises(RunError, match=r"cannot write .*a\.txt \(read-only\)"):
            write_then_fail(tmp_path / "a.txt", OSError(errno.EROFS, "read-only"))


class TestRunDir:
    def test_a_new_run_holds_its_config_and_is_not_finished(self, tmp_path):
        run = RunDir.create(tmp_path / "runs" / "x", {"seed": 3})
        assert json.loads((tmp_path / "runs/x/config.json").read_text()) == {"seed": 3}
        assert not run.finished

    def test_an_empty_directory_may_be_used(self, tmp_path):
        assert RunDir.create(tmp_path, {}).read_json("config.json") == {}

    def test_a_run_is_never_overwritten(self, tmp_path):
        RunDir.create(tmp_path / "x", {"seed": 3})
        with pytest.raises(RunError, match=r"already holds a run: continue it with `tutelage resume .*x`"):
            RunDir.create(tmp_path / "x", {"seed": 4})
        assert RunDir.open(tmp_path / "x").read_json("config.json") == {"seed": 3}

    def test_a_directory_with_other_things_is_left_alone(self, tmp_path):
        (tmp_path / "thesis.tex").write_text("years")
        with pytest.raises(RunError, match="is not empty and holds no run"):
            RunDir.create(tmp_path, {})
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]

    def test_a_file_in_the_place_of_the_directory_is_left_alone(self, tmp_path):
        (tmp_path / "x").write_text("years")
        with pytest.raises(RunError, match="is a file: choose another --out"):
            RunDir.create(tmp_path / "x", {})
        assert (tmp_path / "x").read_text() == "years"

    def test_opening_nothing_says_what_is_missing(self, tmp_path):
        with pytest.raises(RunError, match=r"no run at .*: it holds no config\.json"):
            RunDir.open(tmp_path)
        with pytest.raises(RunError, match=r"no run at .*none: there is no such directory"):
            RunDir.open(tmp_path / "none")

    def test_a_run_with_a_result_is_finished(self, tmp_path):
        run = RunDir.create(tmp_path / "x", {})
        run.write_json("result.json", {"accuracy": 1.0})
        assert RunDir.open(tmp_path / "x").finished

    def test_a_missing_file_is_a_clear_error(self, tmp_path):
        with pytest.raises(DataError, match=r"result\.json is missing"):
            RunDir(tmp_path).read_json("result.json")

    @pytest.mark.parametrize("content", [b'{"seed": ', b"\xff\xfe\x00", b"", b"[]"])
    def test_a_damaged_file_is_a_clear_error(self, tmp_path, content):
        (tmp_path / "config.json").write_bytes(content)
        with pytest.raises(DataError, match=r"config\.json is damaged"):
            RunDir(tmp_path).read_json("config.json")


class TestMetrics:
    def test_what_was_written_after_the_checkpoint_is_forgotten(self, tmp_path):
        run = RunDir.create(tmp_path, {})
        run.metrics.write_text("one\ntwo\nthr")
        run.cut_metrics(8)
        assert run.metrics.read_text() == "one\ntwo\n"

    def test_without_a_file_nothing_is_made(self, tmp_path):
        run = RunDir.create(tmp_path, {})
        run.cut_metrics(0)
        assert not run.metrics.exists()

    @pytest.mark.parametrize("before", [None, "one\n"])
    def test_a_file_that_is_shorter_than_the_checkpoint_says_is_not_filled_with_zeros(self, tmp_path, before):
        run = RunDir.create(tmp_path, {})
        if before is not None:
            run.metrics.write_text(before)
        run.cut_metrics(8)
        assert (run.metrics.read_text() if run.metrics.exists() else None) == before
