"""The words of a comparison: the runs' names, their differences, verdicts, notes and formatted numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bench.comparison.comparison import DISTANCE, Comparison, Pair
from bench.runs.facts import leaves
from bench.runs.recipe import deciding
from bench.runs.run import Run
from bench.runs.selection import ENSEMBLE

FEW_UNITS = 30
FEW_FOLDS = 4
LONGEST = 26


def labels(runs: list[Run]) -> list[str]:
    """A short name of each run: its model. Runs of the same model also get their differences, or their identity."""
    models = [str(run.inputs.model) for run in runs]
    named = dict.fromkeys(range(len(runs)), "")
    for model in set(models):
        alike = [i for i, m in enumerate(models) if m == model]
        words = differing([runs[i] for i in alike]) if len(alike) > 1 else [""]
        telling = len(set(words)) == len(words) and max(map(len, words)) <= LONGEST
        named |= {i: w if telling else runs[i].identity[:6] for i, w in zip(alike, words, strict=True)}
    return [f"{model} {named[i]}".strip() for i, model in enumerate(models)]


def differing(runs: Sequence[Run]) -> list[str]:
    """The differences between the runs' recipes as text: ``key=value`` words, one string per run."""
    return [" ".join(f"{key}={value}" for key, value in options.items()) for options in differences(runs)]


def differences(runs: Sequence[Run]) -> list[dict[str, str]]:
    """The options in which the runs' recipes differ: groups (loss: kl), then single keys (optimizer.lr: 0.01).

    An ensemble has no training recipe, so ensembles are compared with ensembles, and trained runs with trained runs.
    """
    blended = [i for i, run in enumerate(runs) if run.inputs.model == ENSEMBLE]
    if blended and len(blended) < len(runs):
        trained = [i for i in range(len(runs)) if i not in blended]
        by_run: dict[int, dict[str, str]] = {}
        for side in (blended, trained):
            by_run |= dict(zip(side, differences([runs[i] for i in side]), strict=True))
        return [by_run[i] for i in range(len(runs))]
    names = [run.inputs.names or {"model": run.inputs.model} for run in runs]
    groups = {g for name in names for g in name if len({n.get(g) for n in names}) > 1} - {"recipe"}
    recipes = [leaves({k: v for k, v in deciding(run.made_by).items() if k not in groups}) for run in runs]
    keys = sorted({k for recipe in recipes for k in recipe if len({r.get(k) for r in recipes}) > 1})
    result = []
    for name, recipe in zip(names, recipes, strict=True):
        options = {g: name[g] for g in sorted(groups) if g in name}
        for key in filter(recipe.__contains__, keys):
            part = key.removesuffix("._target_")
            options[part] = recipe[key] if part == key else recipe[key].rpartition(".")[2]
        result.append(options)
    return result


def sentence(compared: Comparison, pair: Pair) -> str:
    """The verdict on one pair in words."""
    return "".join(verdict(compared, pair))


def verdict(compared: Comparison, pair: Pair) -> tuple[str, str]:
    """The verdict on one pair, and the rest of its sentence: the numbers behind it."""
    names = labels(compared.runs)
    best, other, metric = names[pair.best], names[pair.other], compared.metric.name
    if pair.verdict == "the same":
        return f"{best} and {other} predict the very same", ": there is nothing to tell apart"
    digits = decimals(compared)
    better = compared.metric.direction.word
    judged = pair.gains[np.isfinite(pair.gains)]
    wins = f"on {(judged > 0).sum()} of {len(judged)} folds"
    rows_p = f", p {chance(pair.p_rows)}" if len(compared.runs) > 2 else ""
    rows = f"{signed(pair.gain, digits)}, 95 % interval {bounds(pair.low, pair.high, digits)}{rows_p}"
    folds_p = f"p {chance(pair.p_folds)} over folds"
    if pair.verdict == "better":
        spread = f"{signed(judged.mean(), digits)} ± {signed(judged.std(), digits)}"
        return f"{best} is better than {other}", f" {wins}, difference {spread} ({folds_p}); out of fold {rows}"
    if pair.verdict == "better on these rows":
        why = f"better {wins}, {folds_p}" if pair.folds else "too few folds have a score"
        return (
            f"on these rows {best} is better than {other}",
            f": its out-of-fold {metric} is {better} by {rows}; another training may turn out otherwise ({why})",
        )
    folds_text = f"; it is better {wins}, {folds_p}" if pair.folds else ""
    apart = f"{best} and {other} can't be told apart on these rows"
    return apart, f": the out-of-fold {metric} of {best} is {better} by {rows}{folds_text}"


def notes(compared: Comparison) -> list[str]:
    """Caveats on the verdicts, a sentence each."""
    sentences = []
    if len(compared.runs) > 2:
        n = len(compared.runs) * (len(compared.runs) - 1) // 2
        sentences.append(
            f"p-values are Holm-corrected over all {n} pairs, as the best run was chosen by these same rows; "
            "intervals are not corrected"
        )
    unjudged = [
        k for k, scores in zip(compared.numbers, compared.folds.T, strict=True) if not np.isfinite(scores).all()
    ]
    if unjudged:
        sentences.append(
            f"{compared.metric.name} is not defined on the rows of folds {unjudged}: "
            "the test over folds leaves them out"
        )
    if 1 < len(compared.numbers) - len(unjudged) < FEW_FOLDS:
        judged = len(compared.numbers) - len(unjudged)
        sentences.append(f"{judged} folds show only very large differences; with 5 or 10 the test over folds sees more")
    if compared.n_units < FEW_UNITS:
        sentences.append(
            f"there are only {compared.n_units} {compared.unit}s to draw from: "
            "the intervals are rough, and rather too narrow"
        )
    return sentences


def loss_name(compared: Comparison) -> str:
    """The name of the loss of a row."""
    return "distance from the target" if compared.loss == DISTANCE else compared.loss


def decimals(compared: Comparison) -> int:
    """Number of decimals for differences: two significant digits of the median half-width of their intervals."""
    unsure = float(np.median([(pair.high - pair.low) / 2 for pair in compared.pairs]))
    return int(np.clip(1 - math.floor(math.log10(unsure)), 0, 8)) if unsure > 0 else 4


def signed(value: float, digits: int) -> str:
    """The number with a typographic minus sign (U+2212), and without a sign before zero."""
    text = f"{value:,.{digits}f}"
    return text.replace("-", "" if float(text.replace(",", "")) == 0 else "−")


def bounds(low: float, high: float, digits: int) -> str:
    return f"{signed(low, digits)} to {signed(high, digits)}"


def chance(p: float) -> str:
    """A p-value with its sign, as a person writes it."""
    return "unknown" if math.isnan(p) else "< 0.001" if p < 0.001 else f"= {p:.2g}"
