"""The `fgl` command."""
