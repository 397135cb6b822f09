"""A generator and a discriminator for each class: new rows that look like the class's own (Goodfellow et al. 2014).

Networks, rates and alternating steps are the heartbeat write-up's (section 3.4), for rows of any length. Shapes: B rows
of a batch, N numbers of a flattened row, Z latent numbers.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from bench.spec import UserError
from bench.synthetic.base import Way, by_class, refuse_large, together

FEWEST = 4  # rows of a class: two batches of the two that BatchNorm needs
AT_ONCE = 1024  # rows that are made together, and normalised over each other


class Generator(nn.Module):
    """(B, Z) normal noise → (B, N) in [−1, 1]; 64 → 128 → 256 → 512 → 1024 → N in the write-up."""

    def __init__(self, latent: int, length: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(latent, 128), nn.LeakyReLU(0.2)]
        for narrow, wide in ((128, 256), (256, 512), (512, 1024)):
            # Its second argument is eps, which the write-up may have meant as momentum; it is kept as printed.
            layers += [nn.Linear(narrow, wide), nn.BatchNorm1d(wide, 0.8), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Linear(1024, length), nn.Tanh())

    def forward(self, z_bz: Tensor) -> Tensor:
        out: Tensor = self.layers(z_bz)
        return out


class Discriminator(nn.Module):
    """(B, N) → (B, 1) logits of being real: the write-up's sigmoid is the loss's part, where it can't end in log 0."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(length, 512), nn.LeakyReLU(0.2), nn.Linear(512, 256), nn.LeakyReLU(0.2), nn.Linear(256, 1)
        )

    def forward(self, x_bn: Tensor) -> Tensor:
        out: Tensor = self.layers(x_bn)
        return out


class Gan(Way):
    """Makes ``share`` as many new rows of every class as it has: the classes' proportions stay as they are.

    With ``rows`` it makes that many of every class instead; the write-up shows 10,000.

    Each class has a pair of networks of its own, trained for ``epochs`` on its rows alone, one step of the
    discriminator and one of the generator a batch. Rows that leave [−1, 1], where tanh ends, are mapped onto it from
    the smallest to the largest number of all training rows, and what is made is mapped back. A class of fewer than four
    rows is left alone, and rows whose target gives no class half are not used. It runs on the processor.
    """

    def __init__(
        self,
        epochs: int = 200,
        batch_size: int = 32,
        latent: int = 64,
        lr: float = 0.0005,
        share: float = 0.5,
        rows: int | None = None,
    ) -> None:
        least = (
            ("epochs", epochs, 1),
            ("batch_size", batch_size, 2),
            ("latent", latent, 1),
            ("rows", 1 if rows is None else rows, 1),
        )
        for name, value, low in least:
            if value < low:
                raise UserError(f"synthetic.{name}={value} must be {low} or more")
        for name, number in (("lr", lr), ("share", share)):
            if not number > 0:
                raise UserError(f"synthetic.{name}={number:g} must be above 0")
        self.epochs, self.batch_size, self.latent, self.lr, self.share = epochs, batch_size, latent, lr, share
        self.rows = rows
        self.notes: list[str] = []

    def __call__(self, x: np.ndarray, target: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """(N, *shape), (N, K), seed → new rows (M, *shape) and targets (M, K); see ``synthetic.base``."""
        rows, shape = by_class(target), x.shape[1:]
        length = int(np.prod(shape))
        enough = {k: len(indices) for k, indices in rows.items() if len(indices) >= FEWEST}
        counts = {k: round(self.share * n) if self.rows is None else self.rows for k, n in enough.items()}
        alone = [k for k, indices in rows.items() if len(indices) < FEWEST]
        self.notes = [f"GAN made none of class {k} (from 0): {len(rows[k])} rows are too few to learn" for k in alone]
        refuse_large("gan", sum(map(len, rows.values())) + sum(counts.values()), length)
        refuse_large("gan", 4 * (1024 + 512), length)  # the outer layers' weights, gradients and Adam's two averages
        low, high = (float(x.min()), float(x.max())) if len(x) else (0.0, 0.0)
        middle, half = (0.0, 1.0) if low >= -1 and high <= 1 else ((low + high) / 2, (high - low) / 2)
        new_rows: dict[int, np.ndarray] = {}
        with torch.random.fork_rng(devices=[]):  # a layer's first weights come from the global state
            for k, n in counts.items():
                torch.manual_seed(int(np.random.SeedSequence((seed, k)).generate_state(1, np.uint64)[0] >> 1))
                real = torch.from_numpy((x[rows[k]].reshape(-1, length) - middle) / (half or 1.0)).float()
                new = self._rows(real, n).numpy() * np.float32(half) + np.float32(middle)
                if not np.isfinite(new).all():
                    raise UserError(f"synthetic=gan made NaN of class {k} (from 0); try a smaller synthetic.lr")
                new_rows[k] = new
        return together(new_rows, shape, target.shape[1])

    def _rows(self, real_bn: Tensor, n: int) -> Tensor:
        """(n, N) rows of a generator that was trained on the real ones."""
        generator, discriminator = Generator(self.latent, real_bn.shape[1]), Discriminator(real_bn.shape[1])
        step_g, step_d = (
            torch.optim.Adam(net.parameters(), lr=self.lr, betas=(0.9, 0.99), fused=True)
            for net in (generator, discriminator)
        )
        bce = nn.BCEWithLogitsLoss()
        for _ in range(self.epochs):
            for batch in torch.randperm(len(real_bn)).split(self.batch_size):
                if len(batch) < 2:  # BatchNorm can't train on one; the next epoch leaves out another
                    continue
                is_real = torch.ones(len(batch), 1)
                with torch.no_grad():
                    fake_bn = generator(torch.randn(len(batch), self.latent))
                answer = discriminator(torch.cat([real_bn[batch], fake_bn]))
                loss = 2 * bce(answer, torch.cat([is_real, 1 - is_real]))  # the sum of both halves' means
                step_d.zero_grad()
                loss.backward()
                step_d.step()
                discriminator.requires_grad_(False)
                loss = bce(discriminator(generator(torch.randn(len(batch), self.latent))), is_real)
                step_g.zero_grad()
                loss.backward()
                step_g.step()
                discriminator.requires_grad_(True)
        with torch.no_grad():  # still in training mode, as the write-up makes them: the discriminator knew no other
            batches = [generator(torch.randn(AT_ONCE, self.latent)) for _ in range(-(-n // AT_ONCE))]
        return torch.cat([*batches, torch.zeros(0, real_bn.shape[1])])[:n]
