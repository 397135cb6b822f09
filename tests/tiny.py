"""Everything below conf/ in sizes that a processor trains in a moment: what tests that walk the whole tree share.

A new data set, feature or model needs an entry in ``RAW``, ``SIZES`` or ``SMALL`` only where its own defaults are a
GPU's work.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from bench import build
from bench.paths import conf

RAW: dict[str, dict[str, Any]] = {
    "hms": {"n_eegs": 10, "n_patients": 5, "n_test": 2, "seed": 3},
    "heartbeat": {"n_train": 40, "n_test": 3, "length": 140, "seed": 0},
    "freesound": {"n_train": 12, "n_test": 2, "n_classes": 4, "longest": 1.0, "seed": 0},
    "seti": {"n_train": 8, "n_test": 2, "n_old": 0, "height": 16, "width": 32, "seed": 0},
}
"""Options of each data set's simulator: enough rows for two folds."""

SIZES: dict[str, dict[str, Any]] = {
    "freesound_logmel": {"seconds": 0.5, "n_mels": 32, "n_fft": 1024},
    "freesound_mfcc": {"seconds": 0.4},
    "freesound_waveform": {"seconds": 0.1},
    "heartbeat_scalogram": {"n_scales": 32, "width": 40},
    "heartbeat_spectrogram": {"hop": 4, "n_fft": 62},
    "hms_eeg_spectrogram": {"layout": "regions"},
    "hms_image": {"height": 80, "width": 96},
    "hms_spectrogram": {"layout": "regions"},
    "hms_waveform": {"decimate": 20, "cutoff": 4.0},
    "hydra": {"groups": 4},
    "multirocket": {"kernels": 84},
    "multirocket_hydra": {"kernels": 84, "groups": 4},
}
"""Options of features whose own are large."""

SMALL: dict[str, dict[str, Any]] = {
    "efficientnetv2": {"variant": "tf_efficientnetv2_b0", "resizer": [32, 32]},
    "heartbeat_net5": {"hidden": [64]},
    "inceptiontime": {"depth": 3},
    "panns": {"filters": [16, 32, 64]},
    "rocket": {"kernels": 100},
    "squeezeformer1d": {"blocks": 1},
    "timm_backbone": {"name": "test_resnet"},
    "tinyvit": {"variant": "tiny_vit_5m_224"},
}
"""Options of models: the same code with fewer parameters and layers."""


def options(group: str) -> list[str]:
    """The names of a group's options, as on the command line."""
    return sorted(p.stem for p in (conf() / group).glob("*.yaml"))


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def node(group: str, name: str) -> dict[str, Any]:
    """A group's option in its small size; the node that it puts below its own key, where it is composed by list."""
    found = load(conf() / group / f"{name}.yaml")
    found = found["dataset"] if group == "dataset" else found[name] if group == "augment" and name in found else found
    return found | {"features": SIZES, "model": SMALL}.get(group, {}).get(name, {})


def raw_files(name: str, root: Path) -> Path:
    """A data set's raw files, simulated below ``root``."""
    build.build(node("dataset", name)["simulator"] | RAW.get(name, {}), "dataset.simulator", root)
    return root
