"""Encoders: [batch, time, lead] -> tokens [batch, time', width], embedding [batch, dimension].

An encoder is a Flax module with the call `(signal, *, train)`. A new encoder is one file, and one
line in `ENCODERS`. The call is all that a method needs. Some methods use more of an encoder that
has it:

  parts            widths of separate networks that make up the embedding; `patient_contrast`
                   contrasts each part alone
  local, context,  local features [batch, time, lead] -> [batch, time', width], their causal context
  pool             -> [batch, time', width], and its embedding [batch, dimension]; `cpc` predicts
                   local features from context, otherwise tokens from an LSTM of its own
  features         local features for `wav2vec_cmsc`, which masks them between `project` and
                   `context`; otherwise it masks spans of the signal (see wav2vec_transformer.py)
  patches, encode  patches [batch, row, column, value], and tokens and embedding of the visible
                   ones; `masked_autoencoder` and `jepa` then encode visible patches only, otherwise
                   recordings with masked spans
  lead_embeddings  embeddings of single leads [batch, lead, dimension]; methods that compare leads
                   otherwise encode each lead with the others masked

Some files of `parts/` (convolution, fast_fir, layers, the LSTM of context) hold optional fast paths
for CPUs, with the values of flax's layers; a first reading can skip them.
"""

import dataclasses

import flax.linen as nn

from ecgjax.encoders.compact_resnet import CompactResnet
from ecgjax.encoders.conv_lstm import ConvLstm
from ecgjax.encoders.lead_branches import LeadBranches
from ecgjax.encoders.net1d import Net1d
from ecgjax.encoders.pclr_resnet import PclrResnet
from ecgjax.encoders.s4 import S4
from ecgjax.encoders.two_path_resnet import TwoPathResnet
from ecgjax.encoders.unet1d import Unet1d
from ecgjax.encoders.vit1d import Vit1d
from ecgjax.encoders.wav2vec_transformer import Wav2vecTransformer
from ecgjax.encoders.xresnet1d import XResnet1d
from ecgjax.errors import InputError

ENCODERS: dict[str, nn.Module] = {
    "compact_resnet": CompactResnet(),
    "pclr_resnet": PclrResnet(),
    "xresnet1d50": XResnet1d(),
    "xresnet1d101": XResnet1d(depths=(3, 4, 23, 3)),
    "conv_lstm": ConvLstm(),
    "s4": S4(),
    "lead_branches": LeadBranches(),
    "two_path_resnet": TwoPathResnet(),
    "vit1d": Vit1d(),
    "vit1d_leads": Vit1d(patch=250, lead_patches=True),
    "vit1d_st_mem": Vit1d(patch=75, lead_patches=True, registers=0, separators=True),
    "wav2vec_transformer": Wav2vecTransformer(),
    "unet1d": Unet1d(),
    "net1d": Net1d(),
    "net1d_ecgfounder": Net1d(
        stem=64,
        widths=(64, 160, 160, 400, 400, 1024, 1024),
        depths=(2, 2, 2, 3, 3, 4, 4),
        ratio=1.0,
        group_width=16,
    ),
}


def settings(encoder: nn.Module) -> dict:
    """Returns the encoder's settings as a checkpoint stores them.

    The precision, `dtype`, is a setting of the run and not of the encoder.
    """
    names = [field.name for field in dataclasses.fields(encoder)]
    return {
        name: getattr(encoder, name) for name in names if name not in ("parent", "name", "dtype")
    }


def build(name: str, saved: dict) -> nn.Module:
    """Builds an encoder from the settings in a checkpoint.

    Args:
      name: a name in `ENCODERS`.
      saved: the settings; JSON has turned tuples into lists.

    Raises:
      InputError: this version of ecgjax does not know the encoder, or one of its settings.
    """
    if name not in ENCODERS:
        raise InputError(
            f"encoder {name!r} is unknown to this ecgjax; give one of {', '.join(ENCODERS)}"
        )
    if unknown := sorted(saved.keys() - settings(ENCODERS[name]).keys()):
        raise InputError(
            f"encoder {name} has no setting {', '.join(unknown)} in this ecgjax; "
            f"use the version that saved it"
        )
    fields = {
        key: tuple(value) if isinstance(value, list) else value for key, value in saved.items()
    }
    return type(ENCODERS[name])(**fields)
