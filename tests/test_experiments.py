"""What experiments/ promises about published results."""

from __future__ import annotations

from conftest import compose


def test_the_wavenet_starter_is_the_write_ups_training() -> None:
    config, names = compose("+experiments=hms_wavenet_starter")
    assert (names["dataset"], names["model"], names["loss"], names["split"]) == ("hms", "wavenet", "kl", "group")
    assert (config["train"]["epochs"], config["train"]["batch_size"], config["split"]["n_splits"]) == (5, 32, 5)
    rates = [config["optimizer"]["lr"] * f for f in config["recipe"]["scheduler"]["factors"]]
    assert rates == [1e-3, 1e-3, 1e-4, 1e-4, 1e-5]
    assert config["optimizer"]["_target_"] == "torch.optim.Adam"
