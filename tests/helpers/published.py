"""Published encoders in NumPy: values, and arrays under the published names."""

import numpy as np


def swish(hidden):
    return hidden / (1 + np.exp(-hidden))


def convolution(hidden, kernel, *, stride=1, groups=1):
    """Convolution of [time, channel], zero-padded to ceil(time / stride) samples."""
    taps, _, width = kernel.shape
    samples = -(-len(hidden) // stride)
    missing = max(0, (samples - 1) * stride + taps - len(hidden))
    hidden = np.pad(hidden, ((missing // 2, missing - missing // 2), (0, 0)))
    inputs = np.split(hidden, groups, axis=1)
    kernels = np.split(kernel, groups, axis=2)
    output = np.zeros((samples, width))
    for time in range(samples):
        parts = zip(inputs, kernels, strict=True)
        output[time] = np.concatenate(
            [np.einsum("ti,tio->o", x[time * stride : time * stride + taps], k) for x, k in parts]
        )
    return output


def net1d(encoder, arrays, signal):
    """Tokens [time', channel] of one recording [time, lead], from PyTorch's names."""

    def convolve(hidden, name, **options):
        kernel = arrays[f"{name}.conv.weight"].transpose(2, 1, 0)
        return convolution(hidden, kernel, **options) + arrays[f"{name}.conv.bias"]

    def dense(hidden, name):
        return arrays[f"{name}.weight"] @ hidden + arrays[f"{name}.bias"]

    hidden = swish(convolve(signal, "first_conv", stride=2))
    for stage, (width, depth) in enumerate(zip(encoder.widths, encoder.depths, strict=True)):
        for number in range(depth):
            name = f"stage_list.{stage}.block_list.{number}"
            stride = 1 if number else 2
            branch = hidden if stage == number == 0 else swish(hidden)
            branch = swish(convolve(branch, f"{name}.conv1"))
            groups = width // encoder.group_width
            branch = swish(convolve(branch, f"{name}.conv2", stride=stride, groups=groups))
            branch = convolve(branch, f"{name}.conv3")
            gate = dense(swish(dense(branch.mean(0), f"{name}.se_fc1")), f"{name}.se_fc2")
            branch = branch / (1 + np.exp(-gate))
            if stride == 2:  # the sample after an odd number of them is 0
                hidden = np.pad(hidden, ((0, len(hidden) % 2), (0, 0)))
                hidden = np.maximum(hidden[::2], hidden[1::2])
            before = (width - hidden.shape[1]) // 2
            branch[:, before : before + hidden.shape[1]] += hidden
            hidden = branch
    return hidden


def net1d_arrays(encoder, leads, rng):
    """Random arrays under PyTorch's names, in its axes, with batch normalisation, unused."""
    arrays = {}

    def add(name, *shape):
        arrays[f"{name}.weight"] = rng.normal(0, 0.4, shape).astype(np.float32)
        arrays[f"{name}.bias"] = rng.normal(0, 0.4, shape[0]).astype(np.float32)

    def add_unused(name, channels):
        for part in ("weight", "bias", "running_mean", "running_var"):
            arrays[f"{name}.{part}"] = np.ones(channels, np.float32)
        arrays[f"{name}.num_batches_tracked"] = np.zeros((), np.int64)

    add("first_conv.conv", encoder.stem, leads, encoder.kernel)
    add_unused("first_bn", encoder.stem)
    inputs = encoder.stem
    for stage, (width, depth) in enumerate(zip(encoder.widths, encoder.depths, strict=True)):
        middle = int(width * encoder.ratio)
        groups = width // encoder.group_width
        for number in range(depth):
            name = f"stage_list.{stage}.block_list.{number}"
            add(f"{name}.conv1.conv", middle, inputs, 1)
            add(f"{name}.conv2.conv", middle, middle // groups, encoder.kernel)
            add(f"{name}.conv3.conv", width, middle, 1)
            add(f"{name}.se_fc1", width // 2, width)
            add(f"{name}.se_fc2", width, width // 2)
            for number_, channels in enumerate((inputs, middle, middle), start=1):
                add_unused(f"{name}.bn{number_}", channels)
            inputs = width
    return arrays


def pclr(encoder, arrays, signal):
    """Tokens [time', channel] of one recording [time, lead], from Keras's names."""

    def named(kind, number, weight):
        return arrays[f"{kind}_{number}/{weight}" if number else f"{kind}/{weight}"]

    def convolve(hidden, number, **options):
        return convolution(hidden, named("conv1d", number, "kernel"), **options)

    def normalise(hidden, number):
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        scale, bias, mean, var = (named("batch_normalization", number, name) for name in names)
        return np.maximum((hidden - mean) / np.sqrt(var + 1e-3) * scale + bias, 0)

    factor = encoder.downsample
    hidden = normalise(convolve(signal, 0), 0)
    shortcut = hidden
    for unit in range(1, len(encoder.widths) + 1):
        missing = -len(shortcut) % factor  # as Keras pads "same": half before, half behind
        padding = ((missing // 2, missing - missing // 2), (0, 0))
        padded = np.pad(shortcut, padding, constant_values=-np.inf)
        pooled = padded.reshape(-1, factor, padded.shape[1]).max(1)
        hidden = normalise(convolve(hidden, 3 * unit - 1), 2 * unit - 1)
        shortcut = convolve(hidden, 3 * unit, stride=factor) + convolve(pooled, 3 * unit - 2)
        hidden = normalise(shortcut, 2 * unit)
    return hidden


def pclr_arrays(encoder, leads, rng):
    """Random arrays under Keras's names."""
    arrays = {}
    inputs = leads
    norms = [encoder.stem] + [width for width in encoder.widths for _ in range(2)]
    kernels = [(encoder.kernel, leads, encoder.stem)]
    inputs = encoder.stem
    for width in encoder.widths:
        kernels += [(1, inputs, width), (encoder.kernel, inputs, width)]
        kernels += [(encoder.kernel, width, width)]
        inputs = width
    for number, shape in enumerate(kernels):
        layer = f"conv1d_{number}" if number else "conv1d"
        arrays[f"{layer}/kernel"] = rng.normal(0, 0.4, shape).astype(np.float32)
    for number, channels in enumerate(norms):
        layer = f"batch_normalization_{number}" if number else "batch_normalization"
        for name in ("gamma", "beta", "moving_mean", "moving_variance"):
            values = rng.uniform(0.002, 1, channels)  # small variances show the epsilon
            arrays[f"{layer}/{name}"] = values.astype(np.float32)
    return arrays
