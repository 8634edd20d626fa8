"""PyTorch twins of two encoders, with projection head and objective: the yardstick of training speed.

Same layers, paddings, statistics and parameter names as ecgjax's, so `load` copies the parameters by name and a test
can show equal losses and gradients. Each twin comes in two layouts, of which the benchmark takes the faster one: "ncl"
(1-D convolutions on [batch, channel, time]) and "channels_last" (2-D on [batch, channel, 1, time], the channel
innermost).
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAYOUTS = ("ncl", "channels_last")


class Conv(nn.Module):
    """Convolution over time without bias; `pad` samples on both sides, or as many as JAX's "SAME" adds."""

    def __init__(
        self,
        inputs: int,
        channels: int,
        kernel: int,
        stride: int = 1,
        *,
        pad: int | None = None,
        layout: str,
    ):
        super().__init__()
        window = (kernel,) if layout == "ncl" else (1, kernel)
        self.weight = nn.Parameter(torch.empty(channels, inputs, *window))
        self.kernel, self.stride, self.pad = kernel, stride, pad

    def forward(self, hidden: Tensor) -> Tensor:
        left, right = (
            _same(hidden.shape[-1], self.kernel, self.stride)
            if self.pad is None
            else (self.pad, self.pad)
        )
        if left != right:
            hidden, left = F.pad(hidden, (left, right)), 0
        if hidden.ndim == 3:
            return F.conv1d(hidden, self.weight, stride=self.stride, padding=left)
        return F.conv2d(hidden, self.weight, stride=(1, self.stride), padding=(0, left))


class ConvNorm(nn.Sequential):
    """Convolution, batch normalisation."""

    def __init__(self, inputs: int, channels: int, kernel: int, stride: int = 1, *, layout: str):
        super().__init__()
        self.conv = Conv(inputs, channels, kernel, stride, pad=kernel // 2, layout=layout)
        self.norm = _norm(channels, layout)


class Bottleneck(nn.Module):
    """Twin of `ecgjax.encoders.xresnet1d.Bottleneck`."""

    def __init__(
        self, inputs: int, width: int, channels: int, kernel: int, stride: int, layout: str
    ):
        super().__init__()
        self.stride = stride
        self.shortcut = (
            ConvNorm(inputs, channels, 1, layout=layout) if inputs != channels else nn.Identity()
        )
        self.reduce = ConvNorm(inputs, width, 1, layout=layout)
        self.conv = ConvNorm(width, width, kernel, stride, layout=layout)
        self.expand = ConvNorm(width, channels, 1, layout=layout)

    def forward(self, hidden: Tensor) -> Tensor:
        shortcut = _avg_pool(hidden) if self.stride > 1 else hidden
        hidden = F.relu(self.conv(F.relu(self.reduce(hidden))))
        return F.relu(self.shortcut(shortcut) + self.expand(hidden))


class XResnet1d(nn.Module):
    """Twin of `ecgjax.encoders.xresnet1d.XResnet1d` with its default settings."""

    dimension = 512

    def __init__(
        self,
        layout: str,
        leads: int = 12,
        depths=(3, 4, 6, 3),
        stem=(32, 32, 64),
        width=64,
        expansion=4,
    ):
        super().__init__()
        self.stems, self.blocks = [], []
        for number, (inputs, channels) in enumerate(zip((leads, *stem), stem, strict=False)):
            self.stems.append(f"stem{number + 1}")
            self.add_module(
                self.stems[-1], ConvNorm(inputs, channels, 5, 1 if number else 2, layout=layout)
            )
        inputs = stem[-1]
        for stage, depth in enumerate(depths):
            for block in range(depth):
                stride = 2 if stage and block == 0 else 1
                self.blocks.append(f"stage{stage + 1}_block{block + 1}")
                self.add_module(
                    self.blocks[-1], Bottleneck(inputs, width, width * expansion, 5, stride, layout)
                )
                inputs = width * expansion

    def forward(self, signal: Tensor) -> Tensor:
        hidden = signal
        for name in self.stems:
            hidden = F.relu(self.get_submodule(name)(hidden))
        hidden = _max_pool(hidden, 3, 2, (1, 1))
        for name in self.blocks:
            hidden = self.get_submodule(name)(hidden)
        return torch.cat([hidden.mean(-1), hidden.amax(-1)], 1).flatten(1)


class ResidualUnit(nn.Module):
    """Twin of `ecgjax.encoders.pclr_resnet.ResidualUnit`."""

    def __init__(self, inputs: int, width: int, kernel: int, downsample: int, layout: str):
        super().__init__()
        self.downsample = downsample
        self.shortcut = Conv(inputs, width, 1, layout=layout)
        self.conv1 = Conv(inputs, width, kernel, layout=layout)
        self.norm1 = _norm(width, layout)
        self.conv2 = Conv(width, width, kernel, downsample, layout=layout)
        self.norm2 = _norm(width, layout)

    def forward(self, hidden: Tensor, shortcut: Tensor) -> tuple[Tensor, Tensor]:
        step = self.downsample
        shortcut = self.shortcut(
            _max_pool(shortcut, step, step, _same(shortcut.shape[-1], step, step))
        )
        hidden = self.conv2(F.relu(self.norm1(self.conv1(hidden))))
        total = hidden + shortcut
        return F.relu(self.norm2(total)), total


class PclrResnet(nn.Module):
    """Twin of `ecgjax.encoders.pclr_resnet.PclrResnet` with its default settings."""

    dimension = 320

    def __init__(
        self,
        layout: str,
        leads: int = 12,
        stem: int = 64,
        widths=(128, 196, 256, 320),
        kernel: int = 16,
    ):
        super().__init__()
        self.stem, self.stem_norm = Conv(leads, stem, kernel, layout=layout), _norm(stem, layout)
        self.units = []
        for number, (inputs, width) in enumerate(
            zip((stem, *widths), widths, strict=False), start=1
        ):
            self.units.append(f"unit{number}")
            self.add_module(self.units[-1], ResidualUnit(inputs, width, kernel, 4, layout))

    def forward(self, signal: Tensor) -> Tensor:
        hidden = shortcut = F.relu(self.stem_norm(self.stem(signal)))
        for name in self.units:
            hidden, shortcut = self.get_submodule(name)(hidden, shortcut)
        return hidden.mean(-1).flatten(1)


TWINS = {"xresnet1d50": XResnet1d, "pclr_resnet": PclrResnet}


class Projected(nn.Module):
    """An encoder and the projection head on its embedding; names as in `ecgjax.objectives.patient_contrast`."""

    def __init__(self, name: str, layout: str, widths: tuple[int, int] = (256, 128)):
        super().__init__()
        self.encoder = TWINS[name](layout)
        self.projector = nn.ModuleDict(
            {"layer1": nn.Linear(self.encoder.dimension, widths[0]), "layer2": nn.Linear(*widths)}
        )
        if layout == "channels_last":
            self.to(memory_format=torch.channels_last)

    def forward(self, signal: Tensor) -> Tensor:
        hidden = F.relu(self.projector["layer1"](self.encoder(signal)))
        return self.projector["layer2"](hidden).float()


def nt_xent(projections: Tensor, patients: Tensor, temperature: float = 0.1) -> Tensor:
    """Twin of the loss `nt_xent.nt_xent`: projections [2 * pair, dimension], partners side by side; patients [pair]."""
    count = len(projections)
    unit = projections * torch.rsqrt(projections.square().sum(-1, keepdim=True) + 1e-12)
    row = torch.arange(count, device=unit.device)
    partner, owner = row ^ 1, patients.repeat_interleave(2)
    excluded = (owner[:, None] == owner[None, :]) & (row[None, :] != partner[:, None])
    return F.cross_entropy((unit @ unit.T / temperature).masked_fill(excluded, -torch.inf), partner)


def load(twin: nn.Module, variables: dict) -> None:
    """Copies ecgjax's variables {"params": ..., "batch_stats": ...} into the twin; every array must find its place."""
    state = dict(twin.state_dict())
    wanted = {name for name in state if not name.endswith("num_batches_tracked")}
    found = {}
    for collection in ("params", "batch_stats"):
        for path, leaf in _leaves(variables[collection]):
            *modules, last = path
            name = ".".join((*modules, _NAMES[last]))
            found[name] = (
                _kernel(leaf, state[name].ndim)
                if last == "kernel"
                else torch.from_numpy(np.array(leaf))
            )
    if found.keys() != wanted:
        raise ValueError(f"not the same architecture: {sorted(found.keys() ^ wanted)}")
    twin.load_state_dict({**state, **found})


def as_input(signal: np.ndarray, layout: str) -> Tensor:
    """float32 [batch, time, lead] as the twin takes it."""
    channel_first = torch.from_numpy(np.ascontiguousarray(signal.transpose(0, 2, 1)))
    if layout == "ncl":
        return channel_first
    return channel_first[:, :, None].contiguous(memory_format=torch.channels_last)


_NAMES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


def _leaves(tree: dict, path: tuple = ()):
    for name, value in tree.items():
        yield from (
            _leaves(value, (*path, name)) if isinstance(value, dict) else [((*path, name), value)]
        )


def _kernel(kernel, ndim: int) -> Tensor:
    """[kernel, in, out] -> [out, in, kernel] or [out, in, 1, kernel]; of a dense layer [in, out] -> [out, in]."""
    turned = torch.from_numpy(np.array(kernel).T.copy())
    return turned[:, :, None] if ndim == 4 else turned


def _norm(channels: int, layout: str) -> nn.Module:
    return (nn.BatchNorm1d if layout == "ncl" else nn.BatchNorm2d)(channels, eps=1e-5, momentum=0.1)


def _same(length: int, window: int, stride: int) -> tuple[int, int]:
    """Samples that "SAME" padding adds before and after."""
    total = max((-(-length // stride) - 1) * stride + window - length, 0)
    return total // 2, total - total // 2


def _max_pool(hidden: Tensor, window: int, stride: int, pad: tuple[int, int]) -> Tensor:
    left, right = pad
    if left != right:
        hidden, left = F.pad(hidden, pad, value=-torch.inf), 0
    if hidden.ndim == 3:
        return F.max_pool1d(hidden, window, stride, left)
    return F.max_pool2d(hidden, (1, window), (1, stride), (0, left))


def _avg_pool(hidden: Tensor) -> Tensor:
    """Means of two neighbours; an odd last sample is its own mean."""
    if hidden.ndim == 3:
        return F.avg_pool1d(hidden, 2, 2, ceil_mode=True, count_include_pad=False)
    return F.avg_pool2d(hidden, (1, 2), (1, 2), ceil_mode=True, count_include_pad=False)
