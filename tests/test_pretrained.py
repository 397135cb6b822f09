"""Where timm's networks get their first weights: the hub's cache, a local file; and what is said without."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bench.models.timm_backbone import TimmBackbone
from bench.spec import InputSpec, UserError

NAME = "test_resnet"  # half a million parameters
STEM = "conv1.0.weight"  # its first convolution
GRAY = InputSpec(1, (32, 32), ("no", "yes"))


def backbone(spec: InputSpec = GRAY, **options: Any) -> TimmBackbone:
    return TimmBackbone(spec, name=NAME, **options)


@pytest.fixture
def theirs() -> dict[str, Tensor]:
    """A state dict as timm publishes it: three channels, a thousand classes."""
    import timm

    return timm.create_model(NAME).state_dict()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and no hub: the address answers at once that nobody is there."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    return tmp_path / "hub"


def same(network: nn.Module, state: dict[str, Tensor], but: tuple[str, ...]) -> bool:
    mine = network.state_dict()
    assert set(mine) == set(state)
    return all(torch.equal(mine[k], v) for k, v in state.items() if not k.startswith(but))


@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_without_network_or_cache_one_sentence_comes_at_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch, offline: bool, device: str
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    started = time.perf_counter()
    with torch.device(device), pytest.raises(UserError, match=r"model\.weights=<a local file>$") as caught:
        backbone(pretrained=True)
    assert time.perf_counter() - started < 10
    assert "\n" not in str(caught.value)
    assert offline is constants.HF_HUB_OFFLINE


def test_cached_weights_need_no_network(cache: Path, theirs: dict[str, Tensor]) -> None:
    repository = cache / "models--timm--test_resnet.r160_in1k"
    (repository / "snapshots/abc").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text("abc")
    save_file(theirs, repository / "snapshots/abc/model.safetensors")
    network = backbone(pretrained=True).backbone
    assert same(network, theirs, but=(STEM, "fc."))
    torch.testing.assert_close(network.state_dict()[STEM], theirs[STEM].sum(1, keepdim=True))
    assert network.state_dict()["fc.weight"].shape[0] == 2
    assert network.pretrained_cfg["state_dict"] is None


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_local_file_loads_and_its_other_head_is_said(
    tmp_path: Path, theirs: dict[str, Tensor], suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / f"theirs{suffix}"
    save_file(theirs, file) if suffix == ".safetensors" else torch.save({"state_dict": theirs}, file)
    with caplog.at_level(logging.WARNING):
        network = backbone(weights=str(file)).backbone
    assert same(network, theirs, but=(STEM, "fc."))
    assert "answers 1000 classes: its head is not used" in caplog.text


def test_a_runs_weights_are_sent_to_init_from(tmp_path: Path) -> None:
    save_file(backbone().state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(UserError, match=r"holds a run's weights; start from them with init_from="):
        backbone(weights=str(tmp_path / "weights.safetensors"))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, device: str) -> None:
    with torch.device(device):
        with pytest.raises(UserError, match="is not a file"):
            backbone(weights=str(tmp_path / "nowhere.pt"))
        (tmp_path / "broken.safetensors").write_bytes(b"no weights at all")
        with pytest.raises(UserError, match="can't be read as a state dict"):
            backbone(weights=str(tmp_path / "broken.safetensors"))
        with pytest.raises(UserError, match="give one"):
            backbone(pretrained=True, weights=str(tmp_path / "broken.safetensors"))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file(TimmBackbone(GRAY, name="test_convnext").backbone.state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="are not those of test_resnet"):
        backbone(weights=str(tmp_path / "other.safetensors"))


def test_a_network_that_timm_never_trained_says_so() -> None:
    with pytest.raises(UserError, match="timm has no pretrained weights of convnextv2_small"):
        TimmBackbone(GRAY, name="convnextv2_small", pretrained=True)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_file_of_another_network_is_refused_before_a_fold_starts(tmp_path: Path, device: str) -> None:
    import timm

    save_file(timm.create_model("resnet10t", num_classes=2).state_dict(), tmp_path / "other.safetensors")
    with torch.device(device), pytest.raises(UserError, match=r"other.safetensors are not those of resnet14t"):
        TimmBackbone(GRAY, name="resnet14t", weights=str(tmp_path / "other.safetensors"))
