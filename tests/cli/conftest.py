"""What tests of the command line share: a folder of their own, a wide terminal, and what was said."""

import pytest

from tutelage.cli import main


@pytest.fixture(autouse=True)
def _folder(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["", *__import__("sys").path])  # main appends the folder it is called in


@pytest.fixture
def said(capsys):
    """What a command prints, or what it says when it ends with a code."""

    def run(*args, code=None):
        capsys.readouterr()
        if code is None:
            main(list(map(str, args)))
        else:
            with pytest.raises(SystemExit) as stopped:
                main(list(map(str, args)))
            assert (stopped.value.code or 0) == code
        out, error = capsys.readouterr()
        return error if code else out

    return run
