"""Classifier models, their training and evaluation."""
