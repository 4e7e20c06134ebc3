"""Faults done to small training runs, one kind a file, and what came of them."""
