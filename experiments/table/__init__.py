"""Tables of runs: a base configuration times axes times seeds."""
