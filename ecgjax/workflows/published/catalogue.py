"""Published encoders that ecgjax can import, with architecture, preprocessing and provenance."""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import numpy as np

from ecgjax.encoders import ENCODERS
from ecgjax.encoders.net1d import Net1d
from ecgjax.encoders.pclr_resnet import PclrResnet
from ecgjax.preprocessing import Preprocessing
from ecgjax.workflows.published.layouts import (
    KERAS_UNUSED,
    TORCH_UNUSED,
    Layout,
    net1d_name,
    pclr_name,
    without_offsets,
    without_prefix,
)

WHOLE_MV = 33.0
"""Limit of the amplitude that clips nothing: stored recordings end at 32.8 mV."""


@dataclasses.dataclass(frozen=True)
class Published:
    """A published encoder."""

    title: str
    """Its name in its paper."""
    encoder: str
    """Its architecture's name in `ENCODERS`."""
    module: nn.Module
    """The architecture with its settings."""
    preprocessing: Preprocessing
    """The published preprocessing."""
    source: str
    """Place of the file."""
    licence: str
    """Licence of the weights, as far as their publisher states it."""
    citation: str
    """The paper."""
    trained_on: str
    """Recordings that the weights were trained on, as far as the paper tells."""
    layout: Layout = net1d_name
    """Published names of the arrays."""
    rename: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] = without_prefix
    """Removes from the names what depends on the script that saved them."""
    unused: str = TORCH_UNUSED
    """Regular expression of the names of arrays that are not the encoder's."""


_PCLR = Published(
    title="PCLR",
    encoder="pclr_resnet",
    module=PclrResnet(epsilon=1e-3),  # Keras's default
    preprocessing=Preprocessing(
        rate_hz=409.6, window_s=None, baseline="none", clip_mv=WHOLE_MV
    ),  # 4,096 samples in 10 s
    source="github.com/broadinstitute/ml4h, model_zoo/PCLR/PCLR.h5",
    licence="GPL-3.0 (the repository's)",
    citation="Diamant et al. 2022, doi:10.1371/journal.pcbi.1009862",
    trained_on="ECGs of Massachusetts General Hospital",
    layout=pclr_name,
    rename=without_offsets,
    unused=KERAS_UNUSED,
)
_ECGFOUNDER = Published(
    title="ECGFounder",
    encoder="net1d_ecgfounder",
    module=ENCODERS["net1d_ecgfounder"],
    preprocessing=Preprocessing(
        rate_hz=500.0,
        window_s=None,
        baseline="mean",
        filters="ecgfounder",
        normalisation="zscore_recording",
        clip_mv=WHOLE_MV,
    ),
    source="huggingface.co/PKUDigitalHealth/ECGFounder, 12_lead_ECGFounder.pth",
    licence="MIT",
    citation="Li et al. 2024, arXiv:2410.04133",
    trained_on="HEEDB, 10 million ECGs of Massachusetts General Hospital and Emory",
)
_CLEF_MEDIUM = Published(
    title="CLEF medium",
    encoder="net1d_ecgfounder",
    module=ENCODERS["net1d_ecgfounder"],
    preprocessing=Preprocessing(
        rate_hz=500.0,
        window_s=None,
        leads=("I",),
        baseline="mean",
        filters="clef",
        normalisation="zscore_recording",
        clip_mv=WHOLE_MV,
    ),
    source="zenodo.org/records/17572734, clef_medium.ckpt",
    licence="Clear BSD (Zenodo)",
    citation="Shu et al. 2025, arXiv:2512.02180",
    trained_on="MIMIC-IV-ECG",
)


def _single_lead(published: Published, **changes) -> Published:
    preprocessing = dataclasses.replace(published.preprocessing, leads=("I",))
    return dataclasses.replace(published, preprocessing=preprocessing, **changes)


PUBLISHED: dict[str, Published] = {
    "pclr": _PCLR,
    "pclr-lead-i": _single_lead(
        _PCLR,
        title="PCLR lead I",
        source="github.com/broadinstitute/ml4h, model_zoo/PCLR/PCLR_lead_I.h5",
    ),
    "ecgfounder": _ECGFOUNDER,
    "ecgfounder-1-lead": _single_lead(
        _ECGFOUNDER,
        title="ECGFounder 1-lead",
        source="huggingface.co/PKUDigitalHealth/ECGFounder, 1_lead_ECGFounder.pth",
    ),
    "clef-small": dataclasses.replace(
        _CLEF_MEDIUM,
        title="CLEF small",
        encoder="net1d",
        module=Net1d(),
        source="zenodo.org/records/17572734, clef_small.ckpt",
    ),
    "clef-medium": _CLEF_MEDIUM,
    "clef-large": dataclasses.replace(
        _CLEF_MEDIUM,
        title="CLEF large",
        encoder="net1d",
        module=Net1d(
            stem=128,
            widths=(128, 256, 256, 512, 512, 1024, 1024, 2048, 2048),
            depths=(2, 3, 3, 4, 4, 5, 5, 6, 6),
            ratio=1.5,
            group_width=32,
        ),
        source="zenodo.org/records/17572734, clef_large.ckpt",
    ),
}
"""Names for --from."""
