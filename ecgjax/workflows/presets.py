"""Settings of published papers by name: `pretrain --preset NAME`. Options override the preset.

A preset holds the encoder, input, batch size, optimizer and objective of its paper, as far as this
package has them; differences are in the comments. The number of steps depends on the data: give
--num-steps. All presets clip gradients at a norm of 1 and exclude biases and normalisation from
weight decay; no paper mentions either.

  [I]       the paper does not say it; inferred from the most closely related paper
  [M]       from memory; no written source was found
  Expected  AUROC of a frozen encoder on PTB-XL as its authors report it, with their data and steps
"""

import dataclasses

from ecgjax.augment import PLAIN_VIEWS, Augmentation
from ecgjax.objectives.adversarial import Adversarial
from ecgjax.objectives.byol import Byol
from ecgjax.objectives.clocs import Clocs
from ecgjax.objectives.cpc import Cpc
from ecgjax.objectives.jepa import Jepa
from ecgjax.objectives.lead_bootstrap import LeadBootstrap
from ecgjax.objectives.lejepa import Lejepa
from ecgjax.objectives.masked_autoencoder import MaskedAutoencoder
from ecgjax.objectives.parts.spread import SpreadWeights
from ecgjax.objectives.patient_contrast import PatientContrast
from ecgjax.objectives.simclr import Simclr
from ecgjax.objectives.swav import Swav
from ecgjax.objectives.temporal_spatial import TemporalSpatial
from ecgjax.objectives.visreg import Visreg
from ecgjax.objectives.wav2vec_cmsc import Wav2vecCmsc
from ecgjax.preprocessing import Preprocessing
from ecgjax.train.optimizer import Optimizer
from ecgjax.workflows.pretrain import Pretraining

# Beyond the papers, each preset removes the baseline of each lead. Encoders that are trained on
# whole recordings embed whole recordings.

# 4,096 samples in 10 s, in millivolts without normalisation. Nothing is clipped: int16 ends at
# 32.8 mV.
PCLR_INPUT = Preprocessing(rate_hz=409.6, clip_mv=33.0, window_s=None)
# Adam with linear warm-up and cosine decay. The paper adds the weight decay of 1e-5 to the
# gradient; here it is decoupled.
MEHARI_OPTIMIZER = Optimizer(learning_rate=2.29e-3, weight_decay=1e-5)
# Projection head of LeJEPA and VISReg on pictures.
PICTURE_HEAD = (512, 2048, 2048, 512)

PRESETS: dict[str, Pretraining] = {
    # Liu et al. 2025, doi:10.1016/j.ijmedinf.2024.105742. The abstract says: contrastive,
    # longitudinal, 4.9 M recordings. All else [I]: encoder, projection head and temperature of
    # PCLR, augmentation and optimizer of this package.
    "liu_2025": Pretraining(
        objective=PatientContrast(temperature=0.1, projection=(320, 320)),
        encoder="pclr_resnet",
        preprocessing=PCLR_INPUT,
        batch_size=1024,
    ),
    # Diamant et al. 2022, doi:10.1371/journal.pcbi.1009862; broadinstitute/ml4h:model_zoo/PCLR.
    # Adam with a learning rate of 0.1, batches of 512 [M], 50 epochs [M]. No augmentation: the two
    # recordings of a patient are the views.
    "pclr_2022": Pretraining(
        objective=PatientContrast(
            temperature=0.1,
            projection=(320, 320),
            augmentation=PLAIN_VIEWS,
        ),
        encoder="pclr_resnet",
        preprocessing=PCLR_INPUT,
        optimizer=Optimizer(learning_rate=0.1, weight_decay=0.0, warmup=0.0, schedule="constant"),
        batch_size=512,
    ),
    # Mehari & Strodthoff 2022, arXiv:2103.12676; hhi-aml/ecg-selfsupervised. 100 Hz, 2,000 epochs,
    # batches of 4,096. The paper standardises each lead with the mean and standard deviation of
    # PTB-XL; millivolts here differ from that by constants only.
    # Expected: 71 statements 0.883.
    "mehari_simclr": Pretraining(
        objective=Simclr(), encoder="xresnet1d50", optimizer=MEHARI_OPTIMIZER, batch_size=4096
    ),
    # Mehari & Strodthoff 2022, as above. Expected: 71 statements 0.878.
    "mehari_byol": Pretraining(
        objective=Byol(), encoder="xresnet1d50", optimizer=MEHARI_OPTIMIZER, batch_size=4096
    ),
    # Mehari & Strodthoff 2022, as above.
    "mehari_swav": Pretraining(
        objective=Swav(queue=8 * 4096),
        encoder="xresnet1d50",
        optimizer=Optimizer(learning_rate=1e-3, weight_decay=1e-5),
        batch_size=4096,
    ),
    # Mehari & Strodthoff 2022: 10 s at 100 Hz, 1,000 epochs, AdamW with a constant learning rate.
    # Expected: 71 statements 0.927.
    "mehari_cpc": Pretraining(
        objective=Cpc(),
        encoder="conv_lstm",
        preprocessing=Preprocessing(window_s=None),
        optimizer=Optimizer(learning_rate=1e-4, weight_decay=1e-3, warmup=0.0, schedule="constant"),
        batch_size=32,
    ),
    # ECG-CPC; AI4HealthUOL/ecg-fm-benchmarking: 2.5 s at 240 Hz in millivolts, AdamW with a
    # constant learning rate, 10 epochs of 11 M recordings.
    "ecg_cpc": Pretraining(
        objective=Cpc(
            steps=14,
            hidden=(512,),
            augmentation=dataclasses.replace(PLAIN_VIEWS, crop_s=2.5),
        ),
        encoder="s4",
        preprocessing=Preprocessing(rate_hz=240.0),
        optimizer=Optimizer(learning_rate=3e-3, weight_decay=1e-3, warmup=0.0, schedule="constant"),
        batch_size=64,
    ),
    # Kiyasseh et al. 2021, arXiv:2005.13249; danikiyasseh/CLOCS: frames of 5 s at 500 Hz, Adam with
    # a learning rate of 1e-4, batches of 256, up to 400 epochs. The paper scales frames to 0..1
    # (here each lead has mean 0 and variance 1); its encoder has three convolutions and 86 k
    # parameters (here compact_resnet). CMLC and CMSMLC: give --kind.
    "clocs_cmsc": Pretraining(
        objective=Clocs(kind="cmsc", lead_mask=0.0),
        encoder="compact_resnet",
        preprocessing=Preprocessing(rate_hz=500.0, normalisation="zscore_lead"),
        optimizer=Optimizer(learning_rate=1e-4, weight_decay=0.0, warmup=0.0, schedule="constant"),
        batch_size=256,
    ),
    # BELL 2024, abstract only: one branch per lead, intra- and inter-lead bootstrap. All else [I],
    # from BYOL.
    "bell_2024": Pretraining(objective=LeadBootstrap(), encoder="lead_branches"),
    # ASTCL 2024 (TNNLS), abstract only: noisy and denoised views, discriminator. Encoder and sizes
    # [I]. Neither the terms of VICReg nor clean statistics are mentioned.
    "astcl_2024": Pretraining(
        objective=Adversarial(spread=SpreadWeights(), clean_statistics=False),
        encoder="xresnet1d50",
    ),
    # Sawano et al. 2024 (PLoS One), legend of a figure: 500 Hz, 10 s, patches of one lead and 250
    # samples, mask ratio 75 %. The paper uses ViT-Huge (here a small ViT) and does not describe
    # optimizer and decoder.
    "sawano_2024": Pretraining(
        objective=MaskedAutoencoder(span_samples=250),
        encoder="vit1d_leads",
        preprocessing=Preprocessing(rate_hz=500.0, window_s=None),
    ),
    # Na et al. 2024, arXiv:2402.09450; bakqui/ST-MEM: 250 Hz, z-score over the recording, AdamW
    # with a learning rate of 1.5e-4 for batches of 256, weight decay 0.01, 800 epochs [M]. The
    # paper uses ViT-B (here a small ViT), crops of 9 s and a band-pass filter of 0.67-40 Hz (here
    # neither).
    "st_mem": Pretraining(
        objective=MaskedAutoencoder(lead_wise=True, normalised_targets=True),
        encoder="vit1d_st_mem",
        preprocessing=Preprocessing(rate_hz=250.0, normalisation="zscore_recording", window_s=None),
        optimizer=Optimizer(learning_rate=1.5e-4, weight_decay=0.01, betas=(0.9, 0.95)),
        batch_size=256,
    ),
    # Weimann & Conrad; kweimann/ECG-JEPA: 10 s at 500 Hz, AdamW with a learning rate of 1e-3,
    # warm-up over 10,000 of 100,000 steps, batches of 2,048. The paper standardises each lead with
    # fixed statistics, clips at five standard deviations, and raises the weight decay from 0.01 to
    # 0.1.
    # Expected: 71 statements 0.931, by attentive pooling, with ViT-XS.
    "weimann_jepa": Pretraining(
        objective=Jepa(memory=0.0, spread=SpreadWeights()),
        encoder="vit1d",
        preprocessing=Preprocessing(rate_hz=500.0, normalisation="zscore_lead", window_s=None),
        optimizer=Optimizer(learning_rate=1e-3, weight_decay=0.01, warmup=0.1, betas=(0.9, 0.99)),
        batch_size=2048,
    ),
    # Balestriero & LeCun 2025, arXiv:2511.08544; rbalestr-lab/stable-pretraining: pictures, two
    # crops of 30 to 100 % of the area and six of 5 to 30 %, 1,024 directions, weight 0.02, AdamW
    # with a learning rate of 4e-4, batches of 128. Encoder, lengths of the crops and augmentation
    # [I]: those of this package. No figure for ECGs is published.
    "lejepa_2025": Pretraining(
        objective=Lejepa(
            weight=0.02,
            directions=1024,
            projection=PICTURE_HEAD,
            augmentation=Augmentation(crop_s=5.0),
            small_crops=6,
        ),
        encoder="compact_resnet",
        optimizer=Optimizer(learning_rate=4e-4),
        batch_size=128,
    ),
    # Wu et al. 2026, arXiv:2606.02572; rbalestr-lab/stable-pretraining, script for pictures: 256
    # directions, weight 0.6, AdamW with a learning rate of 1e-3 and a weight decay of 0.05, batches
    # of 128. Encoder, lengths of the crops and augmentation [I], as above. No figure for ECGs is
    # published.
    "visreg_2026": Pretraining(
        objective=Visreg(
            weight=0.6,
            projection=PICTURE_HEAD,
            augmentation=Augmentation(crop_s=5.0),
            small_crops=6,
        ),
        encoder="compact_resnet",
        optimizer=Optimizer(learning_rate=1e-3, weight_decay=0.05),
        batch_size=128,
    ),
    # Temporal and spatial self-supervision, Scientific Reports 2025: 500 Hz, 10 s, normalisation,
    # no other preprocessing. Encoder [I].
    "tssl_2025": Pretraining(
        objective=TemporalSpatial(),
        encoder="lead_branches",
        preprocessing=Preprocessing(rate_hz=500.0, normalisation="zscore_lead", window_s=None),
    ),
    # DeepECG-SSL 2025; HeartWise-AI/DeepECG-SSL-finetune, w2v_cmsc_rlm.yaml: 10 s at 250 Hz,
    # constant learning rate of 5e-5, batches of 342 on three GPUs, accumulated over two. The
    # encoder there has 90 M parameters and a dropout of 0.1 on features (here a small transformer
    # without dropout).
    "deepecg_2025": Pretraining(
        objective=Wav2vecCmsc(),
        encoder="wav2vec_transformer",
        preprocessing=Preprocessing(rate_hz=250.0),
        optimizer=Optimizer(
            learning_rate=5e-5,
            weight_decay=0.01,
            betas=(0.9, 0.98),
            warmup=0.0,
            schedule="constant",
        ),
        batch_size=2052,
    ),
}
