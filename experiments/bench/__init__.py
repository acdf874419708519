"""`fgl bench`: speed, measured."""
