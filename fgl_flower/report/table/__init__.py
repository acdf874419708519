"""The page of a table of runs."""
