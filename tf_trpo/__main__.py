"""Run the command line: `python -m tf_trpo COMMAND`."""

from tf_trpo.cli import main

main()
