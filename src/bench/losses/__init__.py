"""Losses, one file each: (logits (B, K), target (B, K) a distribution, weight (B,) or None) → scalar.

Each sums over classes and is a weighted mean over rows, so that a loss does not depend on the batch's size.
"""
