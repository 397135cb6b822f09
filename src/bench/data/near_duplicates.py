"""Near-duplicates: stored rows that are the same but for a shift, a gain or rounding. Labels are never looked at.

Fingerprints (``fingerprints``) give each row its nearest neighbours in a k-d tree; pairs whose fingerprints agree at
one shift are then held against each other in full (``alike``). Cost grows as rows × log rows, not as pairs of rows.
Both steps are kept in the store's folder:

    fingerprints-<way>.npz   row, place, vector: see ``fingerprints.Fingerprints``
    near-<key>.npz           first, second, similarity, shift
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.atomic import replacing
from bench.data.alike import NOISY, Likeness, likeness, quick
from bench.data.fingerprints import VERSION, Fingerprints, Way, fingerprints, read, ways
from bench.data.source import Source
from bench.data.store import Store

PAIRING = 2
"""Raise it when other pairs would come out of the same fingerprints."""
RADIUS: dict[Way, float] = {"columns": 0.25, "marks": 0.7, "outline": 0.5}
"""How far apart two vectors of the same place may be: for a correlation c it is about √(2 D (1 − c))."""
SHORT_RADIUS = 0.3
"""The same for marks of short sequences: nothing was resampled there, and beats look much alike."""
NEIGHBOURS = 8
MOST_NEIGHBOURS = 128
"""A vector asks for more neighbours where all it has are of its own row or block."""
SHIFTS = 3
"""How many shifts are tried of a pair, those first on which most of its places agree."""
CLOSE = 0.25
"""Part of the radius within which one place is enough for a pair to be looked at; else two have to agree."""
FEW = 2
"""Places up to which a row has too few for two to agree."""
WOBBLE = 2
"""By how much the places of a shifted copy may be off, in samples."""


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs of rows (M, 2) int64, first < second, by falling similarity.

    similarity (M,) float32: the cosine after normalising, best over shifts (``alike``). shift (M,) int64: sample (or
    bin) s of the first row is sample s − shift of the second. groups (N,) int64: connected rows share a number from 0
    on; −1 for a row without a near-duplicate.
    """

    pairs: np.ndarray
    similarity: np.ndarray
    shift: np.ndarray
    groups: np.ndarray


def near_duplicates(store: Store, tied: np.ndarray | None = None, workers: int | None = None) -> NearDuplicates:
    """The near-duplicates among a store's rows; what was found before is read.

    tied (N,): rows of one number are known to belong together (sub-records of one EEG) and are not held against each
    other. workers: threads (None: one a core).
    """
    tied = np.arange(len(store)) if tied is None else np.asarray(tied, np.int64)
    path = store.folder / f"near-{_key(tied)}.npz"
    kept = _load(path, {"pairs": (2, np.int64), "similarity": (1, np.float32), "shift": (1, np.int64)})
    if kept is None or not _plausible(kept, len(store)):
        pairs, similarity, shift = pairs_of(store, tied, workers or os.cpu_count() or 1, _kept_in(store.folder))
        kept = {"pairs": pairs, "similarity": similarity, "shift": shift}
        _save(path, kept)
    return NearDuplicates(kept["pairs"], kept["similarity"], kept["shift"], _groups(kept["pairs"], len(store)))


def pairs_of(
    source: Source,
    tied: np.ndarray,
    workers: int,
    described: Callable[[Source, Way, int], Fingerprints] = fingerprints,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs (M, 2), their similarity (M,) and shift (M,), by falling similarity."""
    wobble = WOBBLE if len(ways(source)) > 1 else 1 << 40
    candidates = [_candidates(described(source, way, workers), way, tied, workers, wobble) for way in ways(source)]
    first, second, shift = (np.concatenate(columns) for columns in zip(*candidates, strict=True))
    if len(ways(source)) > 1 and len(first):
        first, second, shift = _promising(source, first, second, shift)
    return _verified(source, first, second, shift, workers)


def _candidates(
    marks: Fingerprints, way: Way, tied: np.ndarray, workers: int, wobble: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows (M,) and (M,), first < second, and shifts (M,) at which their fingerprints agree: a few for each pair."""
    radius = SHORT_RADIUS if way == "marks" and wobble == WOBBLE else RADIUS[way]
    a, b, distance = _neighbours(marks.vector, tied[marks.row], radius, workers)
    first, second = marks.row[a], marks.row[b]
    shift = marks.place[a] - marks.place[b]
    swapped = first > second
    first, second = np.where(swapped, second, first), np.where(swapped, first, second)
    shift = np.where(swapped, -shift, shift)
    counts = np.bincount(marks.row, minlength=1)
    alone = (distance < CLOSE * radius) | (np.minimum(counts[first], counts[second]) <= FEW)
    return _agreed(first, second, shift, alone, wobble)


def _agreed(
    first: np.ndarray, second: np.ndarray, shift: np.ndarray, alone: np.ndarray, wobble: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each pair's ``SHIFTS`` commonest shifts, of those on which two places agree to ``wobble``, or one ``alone``."""
    if not len(first):
        return first, second, shift
    rows = np.stack([first, second, shift], axis=1)
    key, which, votes = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    pair = np.cumsum(np.r_[0, (np.diff(key[:, :2], axis=0) != 0).any(axis=1)])
    step = np.r_[True, (np.diff(pair) != 0) | (np.diff(key[:, 2]) > wobble)]  # shifts that are nearly one follow
    run = np.cumsum(step) - 1
    sure = np.bincount(which.ravel(), alone, minlength=len(key)) > 0
    enough = (np.bincount(run, votes)[run] >= 2) | sure
    key, pair, votes = key[enough], pair[enough], votes[enough]
    order = np.lexsort((-votes, pair))
    key, pair = key[order], pair[order]
    starts = np.r_[True, np.diff(pair) != 0][: len(pair)]
    rank = np.arange(len(key)) - np.maximum.accumulate(np.where(starts, np.arange(len(key)), 0))
    kept = key[rank < SHIFTS]
    return kept[:, 0], kept[:, 1], kept[:, 2]


def _neighbours(
    vector: np.ndarray, tied: np.ndarray, radius: float, workers: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions (M,), (M,) of vectors that are near each other and not tied, and how far apart they are (M,)."""
    from scipy.spatial import cKDTree

    if not len(vector):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    tree = cKDTree(vector)
    ask, found = np.arange(len(vector)), []
    n = NEIGHBOURS + 1  # itself is one
    while len(ask):
        n = min(n, len(vector))
        distance, other = tree.query(vector[ask], np.arange(1, n + 1), distance_upper_bound=radius, workers=workers)
        near = np.isfinite(distance)
        apart = near & (tied[np.where(near, other, 0)] != tied[ask][:, None])
        row, column = np.nonzero(apart)
        found.append((ask[row], other[row, column], distance[row, column]))
        more = near.all(axis=1) & ~apart.any(axis=1)
        if n >= min(MOST_NEIGHBOURS, len(vector)):
            break
        ask, n = ask[more], 2 * n
    a, b, distances = (np.concatenate(side) for side in zip(*found, strict=True))
    return a.astype(np.int64), b.astype(np.int64), distances


def _promising(
    source: Source, first: np.ndarray, second: np.ndarray, shift: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Those pairs of short rows that are nearly alike, told many at a time: there may be a hundred for each row."""
    kept = []
    order = np.argsort(shift, kind="stable")
    for same in np.split(order, np.flatnonzero(np.diff(shift[order])) + 1):
        for part in np.array_split(same, len(same) // 4096 + 1):
            a, b = (source.gather(rows[part]).astype(np.float32) for rows in (first, second))
            a, b = (x.reshape(len(part), -1, x.shape[-1]) for x in (a, b))
            kept.append(part[quick(a, b, int(shift[part[0]])) > NOISY] if len(part) else part)
    which = np.concatenate(kept)
    return first[which], second[which], shift[which]


def _verified(
    source: Source, first: np.ndarray, second: np.ndarray, shift: np.ndarray, workers: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Those of the pairs that are near-duplicates by ``alike``, each at its best shift."""
    order = np.lexsort((second, first))
    first, second, shift = first[order], second[order], shift[order]
    starts = np.flatnonzero(np.r_[True, np.diff(first) != 0]) if len(first) else np.zeros(0, np.int64)
    ends = np.r_[starts[1:], len(first)]

    def judge(start: int, end: int) -> list[tuple[int, int, Likeness]]:
        row, a = int(first[start]), read(source, int(first[start]))
        best: dict[int, Likeness] = {}
        for k in range(start, end):
            other = int(second[k])
            if other not in best or not best[other].near:
                value = likeness(a, read(source, other), int(shift[k]))
                if other not in best or value.near or value.similarity > best[other].similarity:
                    best[other] = value
        return [(row, other, value) for other, value in best.items() if value.near]

    with ThreadPoolExecutor(workers) as pool:
        rows = [one for part in pool.map(judge, starts, ends) for one in part]
    rows.sort(key=lambda one: (-one[2].similarity, one[0], one[1]))
    return (
        np.array([one[:2] for one in rows], np.int64).reshape(-1, 2),
        np.array([one[2].similarity for one in rows], np.float32),
        np.array([one[2].shift for one in rows], np.int64),
    )


def _groups(pairs: np.ndarray, n: int) -> np.ndarray:
    """(N,) number of each row's connected component, from 0 in the order of rows; −1 of a row alone."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    component = connected_components(graph, directed=False)[1] if n else np.zeros(0, np.int64)
    several = np.bincount(component, minlength=1)[component] > 1 if n else np.zeros(0, bool)
    groups = np.full(n, -1, np.int64)
    groups[several] = np.unique(component[several], return_inverse=True)[1]
    return groups


def _kept_in(folder: Path) -> Callable[[Source, Way, int], Fingerprints]:
    """``fingerprints`` that are read where the folder has them, and left there otherwise."""

    def described(source: Source, way: Way, workers: int) -> Fingerprints:
        path = folder / f"fingerprints-{way}.npz"
        content = _load(path, {"row": (1, np.int64), "place": (1, np.int64), "vector": (2, np.float32)})
        if content and (not len(content["row"]) or 0 <= content["row"].min() <= content["row"].max() < len(source)):
            return Fingerprints(**content)
        made = fingerprints(source, way, workers)
        _save(path, {"row": made.row, "place": made.place, "vector": made.vector})
        return made

    return described


def _key(tied: np.ndarray) -> str:
    return hashlib.sha256(tied.tobytes()).hexdigest()[:12]


def _plausible(content: dict[str, np.ndarray], n: int) -> bool:
    pairs = content["pairs"]
    return pairs.shape[1:] == (2,) and bool((pairs >= 0).all() and (pairs < n).all())


def _load(path: Path, expected: dict[str, tuple[int, type]]) -> dict[str, np.ndarray] | None:
    """The arrays of a file of ours, all of one length; None where it is absent, damaged or of another version."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            if file["version"].tolist() != [VERSION, PAIRING]:
                return None
            content = {name: file[name] for name in expected}
    except Exception:  # whatever a parser makes of bytes that nobody wrote
        return None
    fits = all(content[name].ndim == axes and content[name].dtype == kind for name, (axes, kind) in expected.items())
    same = len({len(values) for values in content.values()}) == 1
    return content if fits and same and all(np.isfinite(v).all() for v in content.values()) else None


def _save(path: Path, content: dict[str, np.ndarray]) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, version=np.array([VERSION, PAIRING]), **content)
