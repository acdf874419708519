"""Evidence on the privacy of a run."""
