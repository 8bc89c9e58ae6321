"""Weights of miners that cheat: each module writes copies of the true model with one kind of change."""

from localnet.cheats.rounding import round_to_int4, write_int4_model

__all__ = ["round_to_int4", "write_int4_model"]
