"""timm's networks for any channel and class count, and where their first weights come from.

A model here keeps timm's network as ``backbone``; a run's weights file, known by that prefix, is for ``init_from``.
"""

from __future__ import annotations

import contextlib
import difflib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.spec import InputSpec, UserError

State = dict[str, Tensor]
PREFIX = "backbone."
ANSWER_WITHIN = 5  # seconds that the hub has to say hello
log = logging.getLogger(__name__)


def timm_network(name: str, spec: InputSpec, pretrained: bool, weights: str | None, **options: Any) -> Any:
    """timm's network ``name`` for ``spec``.

    ``pretrained`` takes timm's own weights, from the local cache where they are, else from the hub; ``weights`` is a
    local state dict under timm's names. Input channels are summed or repeated to the spec's,
    as timm does; a head for another number of classes starts untrained. On the meta device nothing is loaded, but
    the source is read: what is missing is found out before a fold starts.
    """
    import timm

    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        raise UserError(f"timm has no network {name!r}" + (f"; near it are {', '.join(near)}" if near else ""))
    if pretrained and weights is not None:
        raise UserError("model.pretrained=true and model.weights are two sources of the same weights; give one")
    arguments = {"in_chans": spec.channels, "num_classes": spec.n_classes, **options}
    state = read(Path(weights)) if weights is not None else hub_state(name) if pretrained else {}
    if not state:
        return timm.create_model(name, **arguments)
    file_says = told_by(name, state)
    same_head = file_says["num_classes"] == spec.n_classes
    if weights is not None and not same_head:
        log.warning("%s answers %d classes: its head is not used", weights, file_says["num_classes"])
    if torch.get_default_device().type == "meta":
        network = timm.create_model(name, **arguments)
        if weights is not None:
            _refuse_other(name, network.state_dict(), state, weights)
        return network
    arguments["num_classes"] = file_says["num_classes"]
    try:
        network = timm.create_model(
            name, pretrained=True, pretrained_cfg_overlay={"state_dict": state, **file_says}, **arguments
        )
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"the weights in {weights or 'the hub'} are not those of {name}: {reason}") from error
    network.pretrained_cfg["state_dict"] = None  # a copy of all weights otherwise lives as long as the network
    if not same_head:
        network.reset_classifier(spec.n_classes)
    return network


def _refuse_other(name: str, expected: State, state: State, weights: str) -> None:
    """Refuses, before any fold starts, a file of another network: its weights differ beyond stem and head."""
    from timm.models import get_pretrained_cfg

    known = get_pretrained_cfg(name)
    fitted: list[str] = []
    for names in (known.first_conv, known.classifier):
        fitted += [names] if isinstance(names, str) else list(names or ())
    if not set(expected) & set(state):
        return  # names of another library: timm's own filter may know them
    # weights alone: timm fits tables of positions to other sizes, and buffers come and go between its versions
    ours, theirs = ({k: v.shape for k, v in x.items() if k.endswith(".weight")} for x in (expected, state))
    wrong = [
        key
        for key in sorted({*ours, *theirs})
        if not key.startswith(tuple(fitted)) and ours.get(key) != theirs.get(key)
    ]
    if wrong:
        raise UserError(
            f"the weights in {weights} are not those of {name}: {len(wrong)} tensors are missing, too many or of "
            f"another shape, such as {wrong[0]}; name the network that they were trained with"
        )


def read(path: Path) -> State:
    """A local state dict under timm's names."""
    from timm.models import load_state_dict

    if not path.is_file():
        raise UserError(f"model.weights={path} is not a file; give a .safetensors or .pt state dict")
    try:
        state: State = load_state_dict(str(path), weights_only=True)
    except Exception as error:
        raise UserError(
            f"model.weights={path} can't be read as a state dict ({type(error).__name__}); "
            "give a .safetensors or .pt one"
        ) from error
    if any(key.startswith(PREFIX) for key in state):
        raise UserError(f"model.weights={path} holds a run's weights; start from them with init_from={path}")
    return state


def told_by(name: str, state: State) -> dict[str, Any]:
    """What timm must know of a file to fit it to other channels and classes."""
    from timm.models import get_pretrained_cfg

    known = get_pretrained_cfg(name)

    def first(names: str | tuple[str, ...] | None) -> Tensor | None:
        return state.get(f"{names if isinstance(names, str) or not names else names[0]}.weight")

    stem, head = first(known.first_conv), first(known.classifier)
    channels = stem.shape[1] if stem is not None and stem.ndim == 4 else known.input_size[0]
    classes = head.shape[0] if head is not None else known.num_classes
    return {"input_size": (channels, *known.input_size[1:]), "num_classes": classes}


def hub_state(name: str) -> State:
    """timm's weights of ``name``, from the local cache or the hub; UserError at once where neither has them.

    huggingface_hub alone would retry a dead network for most of a minute.
    """
    from timm.models import get_pretrained_cfg, load_state_dict_from_hf

    where = getattr(get_pretrained_cfg(name), "hf_hub_id", None)
    if not where:
        raise UserError(f"timm has no pretrained weights of {name}; set model.pretrained=false or choose another")
    with contextlib.suppress(Exception), cache_alone():
        cached: State = load_state_dict_from_hf(where)
        return cached
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=ANSWER_WITHIN)
        fetched: State = load_state_dict_from_hf(where)
        return fetched
    except Exception as error:
        raise UserError(
            f"the pretrained weights {where} are not in {constants.HF_HUB_CACHE} and {constants.ENDPOINT} did not give "
            f"them ({type(error).__name__}); set model.pretrained=false or model.weights=<a local file>"
        ) from error


@contextlib.contextmanager
def cache_alone() -> Iterator[None]:
    """The hub's client reads HF_HUB_OFFLINE once, at its import: later only this constant keeps it off the network."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
