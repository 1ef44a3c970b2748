import errno

import pytest
import typer
from typer.testing import CliRunner

from spacy_tcm.cli._common import check_output_file, check_output_folder, exits_cleanly
from spacy_tcm.errors import RecordError


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (
            OSError(errno.EACCES, "Permission denied", "a/b.jsonl"),
            "'a/b.jsonl' (Permission denied)",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "a file (No space left on device)"),
        (OSError("text of a library"), "a file (OSError)"),
    ],
)
def test_an_os_error_is_a_message_with_path_and_cause(error, shown):
    @exits_cleanly
    def command() -> None:
        raise error

    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert f"[E532] Cannot read or write {shown}" in result.output


def test_output_checks_change_nothing(tmp_path):
    file = tmp_path / "file"
    file.write_text("kept")
    check_output_folder(tmp_path)
    check_output_folder(tmp_path / "new" / "folder")
    check_output_file(file)
    check_output_file(tmp_path / "new" / "file")
    for check, path, code in [
        (check_output_folder, file, "E533"),
        (check_output_folder, file / "below", "E533"),
        (check_output_file, file / "below", "E533"),
        (check_output_file, tmp_path, "E534"),
    ]:
        with pytest.raises(RecordError, match=code):
            check(path)
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_text() == "kept"


def test_output_that_may_not_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write anywhere
    for check, path in [
        (check_output_folder, tmp_path / "new"),
        (check_output_file, tmp_path / "file"),
        (check_output_file, tmp_path / "new"),
    ]:
        with pytest.raises(RecordError, match="E535"):
            check(path)


def test_a_package_that_is_not_there_is_named():
    @exits_cleanly
    def command() -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 1
    assert "[E536]" in result.output
    assert "'torch'" in result.output
