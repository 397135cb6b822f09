"""WaveNet of the HMS starter write-up: one extractor shared by every channel, then a small head over the chains.

Letters in tensor names: b batch, c channel, t time, s signal (one channel of one example), l layer of a block,
k tap, f filters of this block, p filters of the block before, g = 2f (filter half, then gate half). A row of ones
below the data is written 1: x_p1n has p + 1 rows. n is a column: sample t of signal s, n = t * signals + s, so a
shift in time by d is a shift of d * signals columns and all signals of a chunk meet one matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bench.models.parts import refuse_below_one
from bench.spec import InputSpec, UserError

# Columns (samples × signals) worked on at once on a CPU: a layer's rows then stay in the processor's cache.
CHUNK_COLUMNS = 8000


class WaveNet(nn.Module):
    """Logits (B, K) from signals (B, C, T).

    Every channel alone goes through ``len(filters)`` wave blocks and is averaged over time; ``chain_size``
    neighbouring channels are averaged (HMS: the two signals of an electrode chain), chains are concatenated, and a
    ReLU layer of ``hidden`` units precedes the logits. Where ``chain_size`` does not divide the channel count, every
    channel is its own chain. ``layers[i]`` dilations 1, 2, 4, … belong to the block of ``filters[i]`` filters;
    ``kernel_size`` is odd. Any length works: taps that reach past the signal see the zeros of 'same' padding.

    Two ways compute the same numbers from the same parameters (up to rounding). Eager on a CPU: matrix products in
    cache-sized chunks, always in float32 or float64, also under autocast. Anywhere else: ordinary convolutions,
    which autocast, CUDA and ``torch.compile`` know what to do with.
    """

    takes: ClassVar[str] = "sequence"

    def __init__(
        self,
        spec: InputSpec,
        filters: Sequence[int] = (8, 16, 32, 64),
        layers: Sequence[int] = (12, 8, 4, 1),
        kernel_size: int = 3,
        hidden: int = 64,
        chain_size: int = 2,
    ) -> None:
        super().__init__()
        refuse_below_one(filters=filters, hidden=hidden, chain_size=chain_size)
        if len(filters) != len(layers) or min(layers, default=0) < 1 or kernel_size % 2 == 0:
            raise UserError(
                f"WaveNet got filters {list(filters)}, layers {list(layers)} and kernel_size {kernel_size}: "
                "give as many filters as layers, at least one layer a block, and an odd kernel size."
            )
        self.plain = False  # True: convolutions everywhere, for what transforms the forward pass
        widths = [1, *filters]
        self.blocks = nn.ModuleList(
            WaveBlock(p, f, n, kernel_size) for p, f, n in zip(widths[:-1], filters, layers, strict=True)
        )
        self.chain_size = chain_size if spec.channels % chain_size == 0 else 1
        self.hidden = nn.Linear(spec.channels // self.chain_size * widths[-1], hidden)
        self.classifier = nn.Linear(hidden, spec.n_classes)
        for layer in (self.hidden, self.classifier):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x_bct: Tensor) -> Tensor:
        products = not self.plain and x_bct.device.type == "cpu" and x_bct.dtype in (torch.float32, torch.float64)
        if products and not torch.compiler.is_compiling():
            features_bcf = self.extract_by_products(x_bct)
        else:
            features_bcf = self.extract_by_convolutions(x_bct)
        chains_bhf = features_bcf.unflatten(1, (-1, self.chain_size)).mean(2)
        out: Tensor = self.classifier(F.relu(self.hidden(chains_bhf.flatten(1))))
        return out

    def extract_by_convolutions(self, x_bct: Tensor) -> Tensor:
        """(B, C, T) → each channel's features, averaged over time (B, C, F)."""
        x_sft = x_bct.flatten(0, 1)[:, None]
        for block in self.blocks[:-1]:
            x_sft = block(x_sft)
        out: Tensor = self.blocks[-1](x_sft, pool=True).unflatten(0, x_bct.shape[:2])
        return out

    def extract_by_products(self, x_bct: Tensor) -> Tensor:
        """The same by matrix products over chunks of signals: 2–2.5 times as fast in training on a CPU."""
        x_st = x_bct.flatten(0, 1)
        pooled: list[Tensor] = []
        with torch.autocast("cpu", enabled=False):
            weights = [cast(WaveBlock, block).composed() for block in self.blocks]
            for chunk_st in x_st.split(max(1, CHUNK_COLUMNS // x_st.shape[1])):
                signals = len(chunk_st)
                rows = torch.stack((chunk_st.t(), torch.ones_like(chunk_st.t()))).flatten(1)
                for i, weight in enumerate(weights, 1):
                    rows = BlockProducts.apply(rows, *weight, signals, i == len(weights))
                pooled.append(rows.t())
            out: Tensor = torch.cat(pooled).unflatten(0, x_bct.shape[:2])
            return out


class StackedConv(nn.Module):
    """Weights of ``n`` convolutions alike, stacked: few, larger tensors are kinder to an optimiser than many small.

    Glorot uniform and zero biases, Keras' defaults: in PyTorch's own initialisation this net is another one.
    """

    def __init__(self, n: int, inputs: int, outputs: int, taps: int, parts: int = 1) -> None:
        """``parts``: how many convolutions of ``outputs / parts`` outputs sit side by side in one (fan counts one)."""
        super().__init__()
        bound = math.sqrt(6 / ((inputs + outputs // parts) * taps))
        self.weight = nn.Parameter(torch.empty(n, outputs, inputs, taps).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(n, outputs))

    def each(self) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(self.weight.unbind(), self.bias.unbind(), strict=True)


class WaveBlock(nn.Module):
    """1×1 in, then ``layers`` gated dilated convolutions; the output is the sum of the 1×1's and every layer's."""

    def __init__(self, inputs: int, filters: int, layers: int, kernel_size: int) -> None:
        super().__init__()
        self.inlet = StackedConv(1, inputs, filters, 1)
        self.gated = StackedConv(layers, filters, 2 * filters, kernel_size, parts=2)  # tanh half, sigmoid half
        self.mixer = StackedConv(layers, filters, filters, 1)

    def forward(self, x_spt: Tensor, pool: bool = False) -> Tensor:
        """(S, P, T) → (S, F, T), or its mean over time (S, F) where ``pool``: the last 1×1 then runs on the mean."""
        x_sft = F.conv1d(x_spt, self.inlet.weight[0], self.inlet.bias[0])
        total, length = x_sft.mean(2) if pool else x_sft, x_sft.shape[2]
        n = len(self.gated.weight)
        for i, ((w, b), (mix, mix_bias)) in enumerate(zip(self.gated.each(), self.mixer.each(), strict=True)):
            reach, dilation = w.shape[2] // 2, 2**i
            if dilation >= length:  # the outer taps see nothing but padding
                w, reach, dilation = w[:, :, reach : reach + 1], 0, 1
            a, gate = F.conv1d(x_sft, w, b, padding=reach * dilation, dilation=dilation).chunk(2, dim=1)
            x_sft = torch.tanh(a) * torch.sigmoid(gate)
            if pool and i == n - 1:
                return total + F.linear(x_sft.mean(2), mix[:, :, 0], mix_bias)
            x_sft = F.conv1d(x_sft, mix, mix_bias)
            total = total + (x_sft.mean(2) if pool else x_sft)
        return total

    def composed(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The block without its inner 1×1s, which are linear and so can be multiplied into what follows them.

        Returns, for inputs that carry a row of ones below them (their biases' column, which 'same' padding cuts off
        at the ends exactly as it cuts off the convolution's input): the first layer's taps on the block's input
        (k, g, p + 1), the other layers' taps on the gated output before them (l − 1, k, g, f + 1), and the two parts
        of the residual sum, from the input (f, p + 1) and from all gated outputs (f, l · (f + 1)). The filter
        half is scaled by −2, because tanh(a) = 1 − 2 sigmoid(−2a), and a CPU's sigmoid is far quicker than its tanh.
        """
        inlet_fp = torch.cat((self.inlet.weight[0, :, :, 0], self.inlet.bias[0, :, None]), dim=1)
        mixer_lff = torch.cat((self.mixer.weight[..., 0], self.mixer.bias[..., None]), dim=2)
        taps_lkgf = self.gated.weight.permute(0, 3, 1, 2)
        half = taps_lkgf.shape[2] // 2
        scale_g = torch.cat((taps_lkgf.new_full((half,), -2.0), taps_lkgf.new_ones(half)))
        taps_lkgf, bias_lg = taps_lkgf * scale_g[:, None], self.gated.bias * scale_g
        middle = F.one_hot(torch.tensor(taps_lkgf.shape[1] // 2), taps_lkgf.shape[1])  # its tap is never cut off
        bias_lkg1 = (bias_lg[:, None] * middle[:, None])[..., None]
        first_kgp = taps_lkgf[0] @ inlet_fp + F.pad(bias_lkg1[0], (inlet_fp.shape[1] - 1, 0))
        rest_lkgf = taps_lkgf[1:] @ mixer_lff[:-1, None] + F.pad(bias_lkg1[1:], (half, 0))
        return first_kgp, rest_lkgf, inlet_fp, mixer_lff.transpose(0, 1).flatten(1)


class BlockProducts(torch.autograd.Function):
    """A composed block as products of small weights with long rows, and its derivative written out.

    Written by hand because autograd cannot add a tap's product into a tensor that is already there, nor leave the
    sigmoids as the only thing kept beside the gated outputs.
    """

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def forward(
        ctx: Any, x_pn: Tensor, first: Tensor, rest: Tensor, inlet: Tensor, mixer: Tensor, signals: int, pool: bool
    ) -> Tensor:
        """(p + 1, n) → (f + 1, n), the row of ones last; where ``pool``, (f, signals): the mean over time."""
        layers, (taps, both, _), n = len(rest) + 1, first.shape, x_pn.shape[1]
        half = both // 2
        gated_lfn = x_pn.new_empty(layers, half + 1, n)
        gated_lfn[:, half] = 1
        sigmoids_lgn = x_pn.new_empty(layers, both, n)
        inputs_fn = x_pn
        for i, (out_gn, z_fn) in enumerate(zip(sigmoids_lgn, gated_lfn, strict=True)):
            weight_kgf = first if i == 0 else rest[i - 1]
            torch.mm(weight_kgf[taps // 2], inputs_fn, out=out_gn)
            for tap, source, destination in shifts(taps, signals << i, n):
                out_gn[:, destination].addmm_(weight_kgf[tap], inputs_fn[:, source])
            out_gn.sigmoid_()
            # tanh(a) sigmoid(b) = (1 − 2u) v = v − 2uv, with u and v the two halves
            torch.addcmul(out_gn[half:], out_gn[:half], out_gn[half:], value=-2, out=z_fn[:half])
            inputs_fn = z_fn
        ctx.save_for_backward(x_pn, first, rest, inlet, mixer, gated_lfn, sigmoids_lgn)
        ctx.signals, ctx.pool = signals, pool
        if pool:
            return inlet @ mean_over_time(x_pn, signals) + mixer @ mean_over_time(gated_lfn.flatten(0, 1), signals)
        total_fn = x_pn.new_empty(len(mixer) + 1, n)
        total_fn[-1] = 1
        torch.mm(mixer, gated_lfn.flatten(0, 1), out=total_fn[:-1]).addmm_(inlet, x_pn)
        return total_fn

    @staticmethod
    @once_differentiable
    @torch.amp.custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad_fn: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x_pn, first, rest, inlet, mixer, gated_lfn, sigmoids_lgn = ctx.saved_tensors
        signals, needs_dx = ctx.signals, ctx.needs_input_grad[0]
        (layers, rows, n), (taps, both, _) = gated_lfn.shape, first.shape
        half, times = both // 2, n // signals
        flat_n = gated_lfn.flatten(0, 1)

        # The residual sum, or its mean over time: what it passes back to the block's input and to every layer.
        if ctx.pool:
            dinlet = grad_fn @ mean_over_time(x_pn, signals).t()
            dmixer = grad_fn @ mean_over_time(flat_n, signals).t()
            dx_pn = ((inlet.t() @ grad_fn) / times).repeat(1, times)
            dgated_n = ((mixer.t() @ grad_fn) / times).repeat(1, times)
        else:
            grad_fn = grad_fn[:-1]
            dinlet, dmixer = (x_pn @ grad_fn.t()).t(), (flat_n @ grad_fn.t()).t()
            dx_pn = inlet.t().contiguous() @ grad_fn if needs_dx else x_pn
            dgated_n = mixer.t().contiguous() @ grad_fn
        dgated_lfn = dgated_n.view(layers, rows, n)

        # du = −2 v dz: the factor −2 waits in the weights, where it costs nothing.
        scale_g = torch.cat((first.new_full((half,), -2.0), first.new_ones(half)))
        back_first = (first * scale_g[:, None]).transpose(1, 2).contiguous()
        back_rest = (rest * scale_g[:, None]).transpose(2, 3)[:, :, :half].contiguous()
        dfirst_kpg, drest_lkfg = torch.zeros_like(back_first), rest.new_zeros(layers - 1, taps, rows, both)
        dout_gn = torch.empty_like(sigmoids_lgn[0])
        for i in reversed(range(layers)):
            dz_fn, sig_gn = dgated_lfn[i, :half], sigmoids_lgn[i]
            torch.mul(dz_fn, sig_gn[half:], out=dout_gn[:half])
            torch.addcmul(dz_fn, dz_fn, sig_gn[:half], value=-2, out=dout_gn[half:])
            torch.ops.aten.sigmoid_backward.grad_input(dout_gn, sig_gn, grad_input=dout_gn)
            inputs_fn, dweight, back, dinputs_fn = (
                (gated_lfn[i - 1], drest_lkfg[i - 1], back_rest[i - 1], dgated_lfn[i - 1, :half])
                if i
                else (x_pn, dfirst_kpg, back_first, dx_pn)
            )
            shifted = list(shifts(taps, signals << i, n))
            torch.mm(inputs_fn, dout_gn.t(), out=dweight[taps // 2])
            for tap, source, destination in shifted:
                torch.mm(inputs_fn[:, source], dout_gn[:, destination].t(), out=dweight[tap])
            if i or needs_dx:
                dinputs_fn.addmm_(back[taps // 2], dout_gn)
                for tap, source, destination in shifted:
                    dinputs_fn[:, source].addmm_(back[tap], dout_gn[:, destination])
        dfirst, drest = dfirst_kpg.transpose(1, 2), drest_lkfg.transpose(2, 3)
        scaled = (dfirst * scale_g[:, None], drest * scale_g[:, None])
        return (dx_pn if needs_dx else None, *scaled, dinlet, dmixer, None, None)


def shifts(taps: int, step: int, n: int) -> Iterator[tuple[int, slice, slice]]:
    """The taps beside the middle one that see data: (tap, columns it reads, columns it adds to), ``step`` apart."""
    for tap in range(taps):
        shift = (tap - taps // 2) * step
        if 0 < abs(shift) < n:
            yield tap, slice(max(0, shift), n + min(0, shift)), slice(max(0, -shift), n - max(0, shift))


def mean_over_time(rows_n: Tensor, signals: int) -> Tensor:
    """(rows, n) → (rows, signals), as a product: summing over a middle axis is slow."""
    times = rows_n.shape[1] // signals
    return (rows_n @ torch.eye(signals, dtype=rows_n.dtype).repeat(times, 1)).div_(times)
