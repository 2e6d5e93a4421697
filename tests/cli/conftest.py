"""What the tests of the command line share."""

import pytest

from tf_trpo.cli import main


@pytest.fixture
def refused(capsys):
    """refused(*arguments): the one line on standard error of a command that ends with status 2."""

    def run(*arguments, progress_lines=0):
        with pytest.raises(SystemExit) as exit_info:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert exit_info.value.code == 2
        assert captured.out == ""
        *progress, error = captured.err.splitlines()
        assert len(progress) == progress_lines
        assert error.startswith("error: ")
        return error

    return run
