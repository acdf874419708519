"""Differential privacy of what clients tell: how much noise a promise takes, and the noise."""
