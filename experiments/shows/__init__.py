"""What the synthesis engine withstands, shown at full size: each module is a program that prints its figures."""
