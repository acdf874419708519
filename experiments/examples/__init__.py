"""What a newcomer copies: each file stands alone and runs by `python -m experiments.examples.NAME`."""
