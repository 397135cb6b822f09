"""bench: cross-validated, tracked, resumable training for competitions on signals."""

__version__ = "0.1.0"
