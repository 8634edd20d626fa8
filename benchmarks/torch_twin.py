"""PyTorch twins of two encoders, with projection head and loss, to compare the training speed.

Layers, padding, statistics and parameter names are those of ecgjax. `load` copies the parameters by
name, and a test shows that losses and gradients are equal. Each twin has two layouts, and the
benchmark takes the faster one: "ncl" (1-D convolutions on [batch, channel, time]) and
"channels_last" (2-D on [batch, channel, 1, time], with the channel innermost in memory).
"""

import numpy as np
import torch
import torch.nn.functional as F
from flax.traverse_util import flatten_dict
from torch import Tensor, nn

LAYOUTS = ("ncl", "channels_last")


class Conv(nn.Module):
    """Convolution over time without bias; `padding` zeros on both sides, None as JAX's "SAME"."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        *,
        padding: int | None = None,
        layout: str,
    ):
        super().__init__()
        window = (kernel_size,) if layout == "ncl" else (1, kernel_size)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *window))
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding

    def forward(self, hidden: Tensor) -> Tensor:
        if self.padding is None:
            before, after = _same_padding(hidden.shape[-1], self.kernel_size, self.stride)
        else:
            before = self.padding
            after = self.padding
        if before != after:
            hidden = F.pad(hidden, (before, after))
            before = 0
        if hidden.ndim == 3:
            return F.conv1d(hidden, self.weight, stride=self.stride, padding=before)
        return F.conv2d(hidden, self.weight, stride=(1, self.stride), padding=(0, before))


class ConvNorm(nn.Sequential):
    """Convolution and batch normalisation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        *,
        layout: str,
    ):
        super().__init__()
        padding = kernel_size // 2
        self.conv = Conv(
            in_channels, out_channels, kernel_size, stride, padding=padding, layout=layout
        )
        self.norm = _batch_norm(out_channels, layout)


class Bottleneck(nn.Module):
    """Twin of `ecgjax.encoders.xresnet1d.Bottleneck`."""

    def __init__(
        self,
        in_channels: int,
        width: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        layout: str,
    ):
        super().__init__()
        self.stride = stride
        self.shortcut = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = ConvNorm(in_channels, out_channels, 1, layout=layout)
        self.reduce = ConvNorm(in_channels, width, 1, layout=layout)
        self.conv = ConvNorm(width, width, kernel_size, stride, layout=layout)
        self.expand = ConvNorm(width, out_channels, 1, layout=layout)

    def forward(self, hidden: Tensor) -> Tensor:
        shortcut = _average_pool(hidden) if self.stride > 1 else hidden
        hidden = F.relu(self.conv(F.relu(self.reduce(hidden))))
        return F.relu(self.shortcut(shortcut) + self.expand(hidden))


class XResnet1d(nn.Module):
    """Twin of `ecgjax.encoders.xresnet1d.XResnet1d` with its default settings."""

    dimension = 512

    def __init__(
        self,
        layout: str,
        *,
        leads: int = 12,
        depths: tuple[int, ...] = (3, 4, 6, 3),
        stem: tuple[int, ...] = (32, 32, 64),
        width: int = 64,
        expansion: int = 4,
    ):
        super().__init__()
        self.stems = []
        self.blocks = []
        in_channels = leads
        for number, channels in enumerate(stem, start=1):
            self.stems.append(f"stem{number}")
            stride = 2 if number == 1 else 1
            self.add_module(
                self.stems[-1], ConvNorm(in_channels, channels, 5, stride, layout=layout)
            )
            in_channels = channels
        out_channels = width * expansion
        for stage, depth in enumerate(depths, start=1):
            for block in range(1, depth + 1):
                stride = 2 if stage > 1 and block == 1 else 1
                self.blocks.append(f"stage{stage}_block{block}")
                bottleneck = Bottleneck(in_channels, width, out_channels, 5, stride, layout)
                self.add_module(self.blocks[-1], bottleneck)
                in_channels = out_channels

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

    def __init__(
        self, in_channels: int, width: int, kernel_size: int, downsample: int, layout: str
    ):
        super().__init__()
        self.downsample = downsample
        self.shortcut = Conv(in_channels, width, 1, layout=layout)
        self.conv1 = Conv(in_channels, width, kernel_size, layout=layout)
        self.norm1 = _batch_norm(width, layout)
        self.conv2 = Conv(width, width, kernel_size, downsample, layout=layout)
        self.norm2 = _batch_norm(width, layout)

    def forward(self, hidden: Tensor, shortcut: Tensor) -> tuple[Tensor, Tensor]:
        stride = self.downsample
        padding = _same_padding(shortcut.shape[-1], stride, stride)
        shortcut = self.shortcut(_max_pool(shortcut, stride, stride, padding))
        hidden = self.conv2(F.relu(self.norm1(self.conv1(hidden))))
        total = hidden + shortcut
        return F.relu(self.norm2(total)), total


class PclrResnet(nn.Module):
    """Twin of `ecgjax.encoders.pclr_resnet.PclrResnet` with its default settings."""

    dimension = 320

    def __init__(
        self,
        layout: str,
        *,
        leads: int = 12,
        stem: int = 64,
        widths: tuple[int, ...] = (128, 196, 256, 320),
        kernel_size: int = 16,
    ):
        super().__init__()
        self.stem = Conv(leads, stem, kernel_size, layout=layout)
        self.stem_norm = _batch_norm(stem, layout)
        self.units = []
        in_channels = stem
        for number, width in enumerate(widths, start=1):
            self.units.append(f"unit{number}")
            self.add_module(
                self.units[-1], ResidualUnit(in_channels, width, kernel_size, 4, layout)
            )
            in_channels = width

    def forward(self, signal: Tensor) -> Tensor:
        hidden = F.relu(self.stem_norm(self.stem(signal)))
        shortcut = hidden
        for name in self.units:
            hidden, shortcut = self.get_submodule(name)(hidden, shortcut)
        return hidden.mean(-1).flatten(1)


TWINS = {"xresnet1d50": XResnet1d, "pclr_resnet": PclrResnet}


class Projected(nn.Module):
    """Encoder and projection head, named as in `ecgjax.objectives.patient_contrast`."""

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
    """Twin of the loss `ecgjax.objectives.parts.nt_xent.nt_xent`.

    Args:
      projections: [2 * pair, dimension]; the two views of a pair follow each other.
      patients: [pair].
      temperature: divisor of the similarities.
    """
    count = len(projections)
    unit = projections * torch.rsqrt(projections.square().sum(-1, keepdim=True) + 1e-12)
    row = torch.arange(count, device=unit.device)
    partner = row ^ 1
    owner = patients.repeat_interleave(2)
    excluded = (owner[:, None] == owner[None, :]) & (row[None, :] != partner[:, None])
    return F.cross_entropy((unit @ unit.T / temperature).masked_fill(excluded, -torch.inf), partner)


def load(twin: nn.Module, variables: dict) -> None:
    """Copies ecgjax's variables {"params": ..., "batch_stats": ...} into a twin.

    Raises:
      ValueError: the twin has other parameters.
    """
    state = dict(twin.state_dict())
    expected = {name for name in state if not name.endswith("num_batches_tracked")}
    copied = {}
    for collection in ("params", "batch_stats"):
        for path, leaf in flatten_dict(variables[collection]).items():
            *modules, last = path
            name = ".".join((*modules, _NAMES[last]))
            array = np.array(leaf)
            copied[name] = torch.from_numpy(array)
            if last == "kernel":
                copied[name] = _torch_kernel(array, state[name].ndim)
    if copied.keys() != expected:
        raise ValueError(f"not the same architecture: {sorted(copied.keys() ^ expected)}")
    twin.load_state_dict({**state, **copied})


def as_input(signal: np.ndarray, layout: str) -> Tensor:
    """Returns a signal, float32 [batch, time, lead], in the layout of a twin."""
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


def _torch_kernel(kernel: np.ndarray, ndim: int) -> Tensor:
    """Transposes a kernel: [kernel, in, out] -> [out, in, kernel], [in, out] -> [out, in].

    With `ndim` 4 the first becomes [out, in, 1, kernel].
    """
    transposed = torch.from_numpy(kernel.T.copy())
    return transposed[:, :, None] if ndim == 4 else transposed


def _batch_norm(channels: int, layout: str) -> nn.Module:
    return (nn.BatchNorm1d if layout == "ncl" else nn.BatchNorm2d)(channels, eps=1e-5, momentum=0.1)


def _same_padding(length: int, window: int, stride: int) -> tuple[int, int]:
    """Returns the samples that JAX's "SAME" padding adds before and after."""
    total = max((-(-length // stride) - 1) * stride + window - length, 0)
    return total // 2, total - total // 2


def _max_pool(hidden: Tensor, window: int, stride: int, padding: tuple[int, int]) -> Tensor:
    before, after = padding
    if before != after:
        hidden = F.pad(hidden, padding, value=-torch.inf)
        before = 0
    if hidden.ndim == 3:
        return F.max_pool1d(hidden, window, stride, before)
    return F.max_pool2d(hidden, (1, window), (1, stride), (0, before))


def _average_pool(hidden: Tensor) -> Tensor:
    """Average pooling of two samples; an odd last sample is not averaged."""
    if hidden.ndim == 3:
        return F.avg_pool1d(hidden, 2, 2, ceil_mode=True, count_include_pad=False)
    return F.avg_pool2d(hidden, (1, 2), (1, 2), ceil_mode=True, count_include_pad=False)
