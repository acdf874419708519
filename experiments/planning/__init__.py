"""What a run needs and would cost, told before it starts."""
