"""The `fgl` command."""


def main() -> None:
    """Entry point of the `fgl` command."""
    from experiments.cli import app  # the commands' modules belong to this package

    app.main()
