"""Shipped weights of the small foundation models and the recipe that trained them."""
