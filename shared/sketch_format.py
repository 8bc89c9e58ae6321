"""The size of a sketch, apart from the code that computes one, so that reading messages needs no torch."""

SKETCH_SIZE = 64
"""Numbers in a sketch."""

SKETCH_BYTES = SKETCH_SIZE * 2
"""Bytes of a sketch: little-endian bfloat16."""
