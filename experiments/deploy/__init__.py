"""A federation on real machines: files for each host, a check of a node, and a run that is waited for."""
