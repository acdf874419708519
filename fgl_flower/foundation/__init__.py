"""Frozen pretrained models: text-to-image generators, captioners, text encoders."""
