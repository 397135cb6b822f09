"""Simulated cadences in SETI Breakthrough Listen's own files, for running and testing without its data.

A cadence looks at a target and away from it in turns. Noise is chi-squared, as power summed over a few spectra is,
under a bandpass that slopes. Interference from the ground stands in all six panels, at one frequency or drifting; a
signal from the target drifts in frequency and is there in panels 0, 2 and 4 alone.

The competition injected its signals with setigen. That is not used here: setigen 2.7.0 brings 116 packages (788 MB,
sphinx and pytest among them), does not import beside a current setuptools (blimpy 2.1.4 asks for pkg_resources), and
what is needed of it, a line with a profile on chi-squared noise, is some twenty lines of numpy.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.simulators import planted

PANELS = 6
ON = np.array([0, 2, 4])
SHARE = 0.1
"""Of cadences with a signal, as in the competition."""
FEWEST = 8
"""Cadences with a signal in a small set (or half of it): fewer leave folds without one."""
LOOKS = 12
"""Degrees of freedom of the noise: two polarisations, real and imaginary part, three spectra a row."""
PARTS = {"train": 0, "test": 1, "old": 2}

FEW = {"n_train": 4, "n_test": 0, "n_old": 4}
"""Settings of ``simulate`` that soon have every class and the true lengths: the catalog's."""


def simulate(
    root: Path,
    n_train: int = 400,
    n_test: int = 40,
    n_old: int = 40,
    height: int = 273,
    width: int = 256,
    seed: int = 0,
    near_duplicates: int = 0,
) -> None:
    """Writes train, test and the withdrawn edition's train cadences into the empty folder ``root``.

    ``height`` is a panel's rows of time, ``width`` its bins of frequency. Same arguments, same bytes; the test
    labels are not written, as in the competition. A part of 0 cadences is left out. The last ``near_duplicates``
    training cadences are others moved in frequency by up to a third, as a neighbouring stretch of the same recording
    would be; ``near_duplicates.csv`` names them.
    """
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    old = root / "old_leaky_data"
    for part, n, digits, folder, table in (
        ("train", n_train, 15, root / "train", root / "train_labels.csv"),
        ("test", n_test, 15, root / "test", root / "sample_submission.csv"),
        ("old", n_old, 12, old / "train_old", old / "train_labels_old.csv"),
    ):
        if n == 0:
            continue
        rng = np.random.default_rng([seed, PARTS[part]])
        positive = np.zeros(n, bool)
        positive[rng.permutation(n)[: max(round(SHARE * n), min(FEWEST, n // 2))]] = True
        ids = sorted(_ids(n, digits, rng))
        of = planted.originals(n, near_duplicates if part == "train" else 0, seed)
        copies = dict(zip(range(n - len(of), n), of.tolist(), strict=True))
        positive[list(copies)] = positive[of]
        for first in sorted({i[0] for i in ids}):
            (folder / first).mkdir(parents=True, exist_ok=True)
        for row, cadence_id in enumerate(ids):
            original = copies.get(row, row)
            rng = np.random.default_rng([seed, PARTS[part], original])
            cadence_phw = cadence(bool(positive[row]), height, width, rng)
            if original != row:
                cadence_phw = _moved(cadence_phw, np.random.default_rng([seed, PARTS[part], row]))
            np.save(folder / cadence_id[0] / f"{cadence_id}.npy", cadence_phw)
        planted.write([ids[row] for row in copies], [ids[row] for row in copies.values()], root)
        target = ["0.5"] * n if part == "test" else positive.astype(int).astype(str).tolist()
        lines = [f"{i},{t}\n" for i, t in zip(ids, target, strict=True)]
        table.write_text("id,target\n" + "".join(lines), encoding="ascii")


def cadence(positive: bool, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """(6, height, width) float16, each panel standardised."""
    import torch

    x_phw = _noise((PANELS, height, width), rng)
    for _ in range(rng.choice(4, p=(0.3, 0.4, 0.2, 0.1))):
        drift = rng.choice((0.0, rng.uniform(-0.8, 0.8)), p=(0.6, 0.4))
        _add_line(x_phw, np.arange(PANELS), drift, _log_uniform(0.3, 4.0, rng), rng)
    if positive:
        drift = rng.choice((-1, 1)) * rng.uniform(0.05, 0.8)
        _add_line(x_phw, ON, drift, _log_uniform(0.4, 3.0, rng), rng)
    bins_w = np.linspace(-1, 1, width, dtype=np.float32)
    x_phw *= 1 + np.float32(rng.uniform(-0.3, 0.3)) * bins_w - np.float32(rng.uniform(0, 0.2)) * bins_w**2
    _standardise(x_phw)
    return torch.from_numpy(x_phw).half().numpy()  # ten times as fast as numpy's cast, to the same bits


def _standardise(x_phw: np.ndarray) -> None:
    """Gives each panel mean 0 and standard deviation 1, in place."""
    for panel in x_phw.reshape(PANELS, -1):
        panel -= panel.mean()
        panel *= 1 / np.sqrt(np.dot(panel, panel) / panel.size)


def _moved(cadence_phw: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The cadence some bins further up or down, with fresh noise where it had none, standardised again."""
    width = cadence_phw.shape[2]
    bins = int(rng.integers(1, max(2, width // 3)))
    fresh_phw = _noise((*cadence_phw.shape[:2], bins), rng)
    fresh_phw -= fresh_phw.mean()
    moved = [cadence_phw[:, :, bins:], fresh_phw] if rng.random() < 0.5 else [fresh_phw, cadence_phw[:, :, :-bins]]
    x_phw = np.concatenate(moved, axis=2, dtype=np.float32)
    _standardise(x_phw)
    return x_phw.astype(np.float16)


def _add_line(x_phw: np.ndarray, panels: np.ndarray, drift: float, level: float, rng: np.random.Generator) -> None:
    """Adds a narrow line to some panels: ``drift`` in bandwidths a cadence, ``level`` in deviations of the noise.

    It keeps drifting while the telescope looks elsewhere, so panels continue one another.
    """
    _, height, width = x_phw.shape
    time_ph = np.arange(PANELS * height).reshape(PANELS, height)[panels] / (PANELS * height) - 0.5
    bend = 0.1 * drift * rng.standard_normal()  # the rate itself changes a little as the earth turns
    centre_ph = width * (rng.uniform(0.15, 0.85) + drift * time_ph + bend * time_ph**2)
    spread = rng.uniform(0.6, 1.8)  # bins, one standard deviation
    reach = int(np.ceil(4 * spread))
    bins_phk = np.round(centre_ph).astype(int)[..., None] + np.arange(-reach, reach + 1)
    line_phk = level * np.exp(-0.5 * ((bins_phk - centre_ph[..., None]) / spread) ** 2)
    inside = (bins_phk >= 0) & (bins_phk < width)
    panel, row, _ = np.nonzero(inside)
    x_phw[panels[panel], row, bins_phk[inside]] += line_phk[inside].astype(np.float32)  # no place comes twice


def _noise(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Power: chi-squared noise, float32, scaled to a standard deviation of 1. 16 random bits pick a quantile of it.

    A generator's own gamma costs ten times as much, and more than everything else here together.
    """
    values: np.ndarray = _quantiles()[rng.integers(0, 1 << 16, shape, np.uint16)]
    return values


def _quantiles() -> np.ndarray:
    """(65536,) float32: the middles of as many equally likely slices of the scaled chi-squared."""
    global _table
    if _table is None:
        from scipy.special import gammaincinv

        half = LOOKS / 2
        middles = (np.arange(1 << 16) + 0.5) / (1 << 16)
        _table = (gammaincinv(half, middles) / np.sqrt(half)).astype(np.float32)
    return _table


_table: np.ndarray | None = None


def _log_uniform(low: float, high: float, rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _ids(n: int, digits: int, rng: np.random.Generator) -> set[str]:
    """``n`` different names of so many hexadecimal digits."""
    ids: set[str] = set()
    while len(ids) < n:
        ids.add(f"{rng.integers(16**digits):0{digits}x}")
    return ids
