"""Recipes: what to run, compare and report."""
