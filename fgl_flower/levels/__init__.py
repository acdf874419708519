"""Prompt levels: what a client says of its images, and what the server makes of it. One module a level."""
