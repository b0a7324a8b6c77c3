"""What a person sees while a run goes on."""

import io
import sys

import pytest

from tutelage.engine.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Each look at the clock is a second later."""
    ticks = iter(range(1000))
    monkeypatch.setattr("tutelage.engine.progress.time.monotonic", lambda: float(next(ticks)))


def test_without_a_terminal_a_note_is_one_line(capsys):
    with Progress("kd · small", 100) as progress:
        progress.step(10)
        progress.note(10, "loss 1.0")
    error = capsys.readouterr().err
    assert error.startswith("kd · small: step 10/100, loss 1.0, ")
    assert error.endswith(" s left\n")
    assert error.count("\n") == 1


@pytest.mark.usefixtures("clock")
def test_the_time_left_follows_from_the_steps_done(capsys):
    progress = Progress("t", 50)
    progress.note(10, "n")  # ten steps in one second, forty are left
    assert capsys.readouterr().err == "t: step 10/50, n, 4 s left\n"


@pytest.mark.usefixtures("clock")
def test_the_time_left_of_a_resumed_run_counts_its_own_steps_only(capsys):
    progress = Progress("t", 50)
    progress.start_at(30)
    progress.note(40, "n")
    assert capsys.readouterr().err == "t: step 40/50, n, 1 s left\n"


def test_a_rank_that_does_not_show_is_silent(capsys):
    with Progress("t", 10, show=False) as progress:
        progress.start_at(2)
        progress.step(3)
        progress.note(3, "n")
    assert capsys.readouterr().err == ""


def test_a_terminal_shows_a_bar_with_title_count_and_note(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    with Progress("kd", 20) as progress:
        progress.start_at(5)
        progress.step(6)
        progress.note(20, "loss 1.0")
    shown = terminal.getvalue()
    assert "kd" in shown
    assert "20/20 · loss 1.0" in shown


def test_an_error_inside_stops_the_bar_and_is_passed_on(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    progress = Progress("kd", 20)
    with pytest.raises(KeyError), progress:
        raise KeyError
    assert progress._bar.finished or not progress._bar.live.is_started
