"""One fold, from objects. It knows no config, no process and no tracking; what it learns goes to the fold's folder.

Every epoch seeds its own randomness from (seed, fold, epoch), so a fold that died goes on from its last checkpoint
to the same weights, and no random state needs to be saved.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from bench.augment.base import Augmentation, prepared
from bench.data.batches import Batches
from bench.runs.run import Fold
from bench.spec import Direction, Metric
from bench.training import batch_statistics, checkpoint, ranks, solving
from bench.training.ema import Ema
from bench.training.inference import logits, probabilities
from bench.training.schedules import Schedule
from bench.training.seeds import MEASURED, epoch_seed
from bench.training.step import Ask, GraphedStep, Loss, Step, Training
from bench.training.together import alone

Report = Callable[[dict[str, Any]], None]
HINT = "try a smaller optimizer.lr, train.clip=1.0 or train.precision=float32"
CHECK_EVERY = 50  # steps between looks at the losses: each look waits for the device


class LossIsNaN(RuntimeError):
    """The loss stopped being a number; the message says where and what usually helps."""


@dataclass(frozen=True)
class Settings:
    """How a fold is trained; every field decides the result."""

    epochs: int
    batch_size: int
    eval_batch_size: int
    seed: int
    precision: Literal["float32", "bf16", "fp16", "auto"] = "float32"
    clip: float | None = None  # gradient norm
    keep: Literal["last", "loss", "metric", "train_loss"] = "last"  # whose weights predict: the last's or the best's
    patience: int | None = None  # epochs without a better one after which the fold ends; None: never early
    accumulate: int = 1  # batches whose gradients make one step
    ema: float | None = None  # decay of the weights' moving average, which is then what is judged and kept
    ema_every: Literal["step", "epoch"] = "step"
    batch_stats: Literal["exact", "running"] = "exact"  # measured for what is judged, or averaged along the way
    sync_batch_norm: bool = True  # of a fold over several devices: over the whole batch, or each device's part


@dataclass
class Parts:
    """The objects of a fold. ``optimizer`` holds the model's parameters.

    ``augment`` changes training batches. ``row_weights`` gives the training rows' weights (N,) of an epoch (from 0);
    None leaves them as they are. ``valid_loss`` is what validation rows are judged by, where that differs from what
    training minimises. ``before_epoch`` is told the history so far, the step and the epoch's rows. ``blocks`` (N,) are
    the training rows that a model which is solved leaves out together (``solving.solve``).
    """

    model: nn.Module
    device_half: nn.Module
    loss: Loss
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    metric: Metric
    augment: Sequence[Augmentation] = ()
    row_weights: Callable[[int], np.ndarray] | None = None
    valid_loss: Loss | None = None
    graphed: bool = False  # the training step as a CUDA graph
    before_epoch: Callable[[list[dict[str, float]], Step, Batches], None] | None = None
    blocks: np.ndarray | None = None


def fit(parts: Parts, train: Batches, valid: Batches, settings: Settings, fold: Fold, report: Report) -> None:
    """Trains as ``fitting`` does, by itself."""
    alone(fitting(parts, train, valid, settings, fold, report))


def fitting(parts: Parts, train: Batches, valid: Batches, settings: Settings, fold: Fold, report: Report) -> Training:
    """Trains to the last epoch, from the fold's checkpoint where there is one; asks for each batch's gradients.

    Leaves in the fold's folder: history.json (an entry an epoch), checkpoint.pt (the last epoch) and
    weights.safetensors (what ``settings.keep`` chose), and in ``parts.model`` the kept weights. With a moving average
    those are the average's. Batch statistics are measured before an epoch is judged, so that what is judged, kept and
    gone on from is one and the same. Without validation rows nothing is judged.
    """
    note = partial(_note, report)
    state = checkpoint.load(fold.checkpoint, train.device, {"model", "optimizer", "ema", "base", "history"}, note)
    weights_are_whole = checkpoint.weights_are_whole(fold.weights, note)
    if settings.keep != "last" and not weights_are_whole:
        state = None  # the best epoch's weights are gone: they come again only from the beginning
    if state is None:
        _measure(parts, parts.model, _rows(parts, train, 0), settings, fold, once=True)
    ema = Ema(parts.model, settings.ema, settings.ema_every == "step") if settings.ema is not None else None
    judged = parts.model if ema is None else ema.model
    history: list[dict[str, float]] = []
    backward = _backward(parts, settings, train.device, note)
    scaler = backward.scaler
    if state is not None:
        _restore(parts.model, ema, state)
        parts.optimizer.load_state_dict(state["optimizer"])
        scaler.load_state_dict(state.get("scaler", {}))
        history = state["history"]
        if not weights_are_whole and ranks.leads():
            checkpoint.save_weights(fold.weights, judged)
    base = [group["lr"] for group in parts.optimizer.param_groups] if state is None else state["base"]
    for epoch in range(len(history), settings.epochs):
        if _stands_still(history, settings, parts.metric):
            break
        started = time.perf_counter()
        rows = _rows(parts, train, epoch)
        losses = [entry["valid/loss"] for entry in history if "valid/loss" in entry]
        rates = [partial(_rate, parts.schedule, settings.epochs, lr, losses) for lr in base]
        if parts.before_epoch is not None:
            parts.before_epoch(history, backward, rows)
        if solving.is_solved(parts.model):
            loss = _solve(parts, rows, settings, (settings.seed, fold.number, epoch), note)
        else:
            loss = yield from _train_epoch(parts, rows, settings, fold, epoch, rates, ema, report, backward)
        steps = _n_steps(parts, rows, settings) + (int(history[-1]["step"]) if history else 0)
        history.append({"epoch": epoch + 1, "step": steps, "lr": parts.optimizer.param_groups[0]["lr"]})
        if settings.batch_stats == "exact":
            _measure(parts, judged, rows, settings, fold)
        try:
            figures = {"train/loss": loss, **(evaluate(parts, valid, settings, judged) if len(valid.target) else {})}
            history[-1] |= ranks.first_says(figures, train.device)  # what decides must not differ by rounding
        except LossIsNaN as error:
            raise LossIsNaN(f"{error} after epoch {epoch + 1}, step {history[-1]['step']}; {HINT}") from None
        history[-1] |= {"seconds": round(time.perf_counter() - started, 3), "time": round(time.time(), 3)}
        if not ranks.leads():
            continue
        if best_epoch(history, settings, parts.metric) == epoch:
            checkpoint.save_weights(fold.weights, judged)
        _save(fold, {"model": parts.model, "optimizer": parts.optimizer, "scaler": scaler}, ema, base, history)
        report({"kind": "epoch", **history[-1]})
    if ranks.leads():
        fold.write_history(history)  # killed between checkpoint and history, the last entry is in the checkpoint alone
    ranks.wait()
    checkpoint.load_weights(fold.weights, parts.model)


def _save(
    fold: Fold, states: dict[str, Any], ema: Ema | None, base: list[float], history: list[dict[str, float]]
) -> None:
    """Writes the checkpoint, from which a fold that died goes on, then the history."""
    kept = {name: part.state_dict() for name, part in states.items()}
    kept |= {"ema": None if ema is None else ema.state(), "base": base, "history": history}
    checkpoint.save(fold.checkpoint, kept)
    fold.write_history(history)


def _n_steps(parts: Parts, rows: Batches, settings: Settings) -> int:
    """Steps of an epoch."""
    if solving.is_solved(parts.model):
        return 1
    return math.ceil(rows.n_batches(settings.batch_size) / settings.accumulate)


def _backward(parts: Parts, settings: Settings, device: torch.device, note: Callable[[str], None]) -> Step:
    """What gives a batch's gradients; its scaler keeps the small ones of float16, and skips steps that overflow."""
    scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
    step = Step(parts.model, parts.loss, settings.precision, scaler, settings.accumulate > 1)
    if ranks.several():
        return ranks.SharedStep(step, device, settings.sync_batch_norm)
    return GraphedStep(step, note) if parts.graphed and device.type == "cuda" else step


def _note(report: Report, text: str) -> None:
    report({"kind": "note", "text": text})


def _rows(parts: Parts, train: Batches, epoch: int) -> Batches:
    """The training rows with the weights of an epoch (from 0)."""
    return train if parts.row_weights is None else train.weighted(parts.row_weights(epoch))


def _solve(
    parts: Parts, rows: Batches, settings: Settings, seed: tuple[int, ...], note: Callable[[str], None]
) -> float:
    """The epoch of a model that is solved at once; returns the mean loss over rows."""
    size = settings.eval_batch_size
    loss, told = solving.solve(parts.model, parts.device_half, parts.loss, rows, parts.blocks, size, seed)
    note(told)
    return loss


def _measure(parts: Parts, model: nn.Module, rows: Batches, settings: Settings, fold: Fold, once: bool = False) -> None:
    """Batch statistics of the model, always of one draw of a fold's rows, in batches that the device takes anyway."""
    layers = batch_statistics.once(model) if once else batch_statistics.along(model)
    size, seed = max(2, settings.batch_size, settings.eval_batch_size), (settings.seed, fold.number, MEASURED)
    at_most = None if once else batch_statistics.ROWS
    batch_statistics.measure(model, layers, parts.device_half, rows, size, settings.precision, seed, at_most)


def _restore(model: nn.Module, ema: Ema | None, state: dict[str, Any]) -> None:
    model.load_state_dict(state["model"])
    if ema is not None:
        ema.load(state["ema"])


def _stands_still(history: list[dict[str, float]], settings: Settings, metric: Metric) -> bool:
    """Whether ``patience`` epochs have passed since the best; read from the history, so resuming changes nothing."""
    if settings.patience is None or not history:
        return False
    return len(history) - 1 - best_epoch(history, settings, metric) >= settings.patience


def best_epoch(history: list[dict[str, float]], settings: Settings, metric: Metric) -> int:
    """The epoch (from 0) whose weights are kept; the earliest of equals, the last where none has a score."""
    key, direction = f"valid/{metric.name}", metric.direction
    if settings.keep in ("loss", "train_loss"):
        key, direction = "valid/loss" if settings.keep == "loss" else "train/loss", Direction.MIN
    best = None if settings.keep == "last" else direction.best(entry[key] for entry in history)
    return len(history) - 1 if best is None else best


def evaluate(parts: Parts, rows: Batches, settings: Settings, model: nn.Module | None = None) -> dict[str, float]:
    """Loss, metric and accuracy on the validation rows; ``model`` replaces the trained model where given."""
    from bench.metrics import accuracy

    mine = rows.between(ranks.part(len(rows))) if ranks.several() else rows
    answer = logits(model or parts.model, parts.device_half, mine, settings.eval_batch_size, settings.precision)
    answer = ranks.gathered(answer, len(rows))
    loss = float((parts.valid_loss or parts.loss)(answer, rows.target, rows.weight))
    if not math.isfinite(loss):
        raise LossIsNaN(f"the validation loss is {loss}")
    target, probability = rows.target.double().cpu().numpy(), probabilities(answer)
    score = parts.metric.score(target, probability)
    return {
        "valid/loss": loss,
        f"valid/{parts.metric.name}": score,
        "valid/accuracy": accuracy(target, probability),
    }


def _train_epoch(
    parts: Parts,
    train: Batches,
    settings: Settings,
    fold: Fold,
    epoch: int,
    rates: Sequence[Callable[[float], float]],
    ema: Ema | None,
    report: Report,
    backward: Step,
) -> Generator[Ask, Tensor, float]:
    """One pass over the training rows; returns the mean loss over rows. ``rates``: each group's, by epoch."""
    model, optimizer, scaler = parts.model, parts.optimizer, backward.scaler
    model.train()
    parts.device_half.train()
    torch.manual_seed(epoch_seed(settings.seed, fold.number, epoch))
    batches = train.shuffled(settings.batch_size, (settings.seed, fold.number, epoch))
    n_steps = len(batches)
    losses = torch.zeros(n_steps, device=train.device)
    sizes = torch.zeros(n_steps)
    gathered = 0  # rows whose gradients wait for their step
    reported = time.monotonic()
    for step, batch in enumerate(batches):
        at = epoch + step / n_steps
        if not gathered:
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate(at)
            backward.zero_grad(optimizer)
        batch = prepared(batch, parts.device_half, parts.augment, at / settings.epochs)
        # a loss is a batch's mean: rows that count little must not step like others
        share = None if batch.weight is None else batch.weight.mean() / batches.mean_weight
        losses[step], sizes[step] = (yield Ask(backward, batch, share)), len(batch)
        gathered += len(batch)
        if (step + 1) % settings.accumulate == 0 or step + 1 == n_steps:
            if settings.accumulate > 1:
                _divide(model, gathered)
            gathered = 0
            if settings.clip is not None:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
            scaler.step(optimizer)
            scaler.update()
            if ema is not None and settings.ema_every == "step":
                ema.update(model)
        if (step + 1) % CHECK_EVERY == 0 or step + 1 == n_steps:
            _refuse_nan(losses[: step + 1], epoch, n_steps)
        if (now := time.monotonic()) - reported > 0.2:
            report({"kind": "step", "epoch": epoch + 1, "step": step + 1, "steps": n_steps})
            reported = now
    if ema is not None and settings.ema_every == "epoch":
        ema.update(model)
    return float((losses.cpu() * sizes).sum() / sizes.sum())


def _rate(schedule: Schedule, epochs: int, base: float, losses: list[float], epoch: float) -> float:
    return schedule(epoch, epochs, base, losses)


def _divide(model: nn.Module, rows: int) -> None:
    """Gradients of a sum over rows → of their mean, so that accumulated batches step as one large one would."""
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad.div_(rows)


def _refuse_nan(losses: Tensor, epoch: int, n_steps: int) -> None:
    bad = (~torch.isfinite(losses)).nonzero()
    if len(bad):
        raise LossIsNaN(
            f"the loss is {float(losses[bad[0, 0]])} in epoch {epoch + 1}, step {int(bad[0, 0]) + 1} of {n_steps}; "
            f"{HINT}"
        )
