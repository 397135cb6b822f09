"""Where the config tree is."""

from __future__ import annotations

from pathlib import Path


def conf() -> Path:
    """The config tree: beside src/ in a checkout, inside the package where it was installed from a wheel."""
    packaged = Path(__file__).parent / "conf"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "conf"
