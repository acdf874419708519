"""What a run leaves behind: run folder, result, ledger, environment."""
