"""`python -m experiments.cli` is the `fgl` command."""

from experiments.cli import main

main()
