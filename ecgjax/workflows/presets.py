"""Published settings by name: `pretrain --preset NAME`. Options on the command line override what a preset says.

A preset holds what its paper says of encoder, input, batch, optimizer and objective, as far as this package has it;
what differs is said beside it. Numbers of steps depend on the data: give --num-steps. All clip gradients at a norm of 1
and leave biases and normalisation without weight decay, which none of the papers mentions. [I] marks what a paper
leaves open and its closest relative decides, [M] what was recalled and not found in writing.
"""

import dataclasses

from ecgjax.augment import PLAIN_VIEWS
from ecgjax.objectives.adversarial import Adversarial
from ecgjax.objectives.byol import Byol
from ecgjax.objectives.clocs import Clocs
from ecgjax.objectives.cpc import Cpc
from ecgjax.objectives.jepa import Jepa
from ecgjax.objectives.lead_bootstrap import LeadBootstrap
from ecgjax.objectives.masked_autoencoder import MaskedAutoencoder
from ecgjax.objectives.patient_contrast import PatientContrast
from ecgjax.objectives.simclr import Simclr
from ecgjax.objectives.swav import Swav
from ecgjax.objectives.temporal_spatial import TemporalSpatial
from ecgjax.objectives.wav2vec_cmsc import Wav2vecCmsc
from ecgjax.preprocessing import Preprocessing
from ecgjax.train.optimizer import Optimizer
from ecgjax.workflows.pretrain import Pretraining

# Ten seconds are 4,096 samples; millivolts without normalisation, nor a clip: int16 ends at 32.8 mV.
PCLR_INPUT = Preprocessing(rate_hz=409.6, clip_mv=33.0)
# Linear warm-up and cosine, Adam with a decay of 1e-5 (there added to the gradient, here decoupled).
MEHARI_OPTIMIZER = Optimizer(learning_rate=2.29e-3, weight_decay=1e-5)

PRESETS: dict[str, Pretraining] = {
    # Liu et al. 2025, doi:10.1016/j.ijmedinf.2024.105742. The abstract says contrastive, longitudinal, 4.9 M
    # recordings; all else [I]: encoder, head and temperature of PCLR, the package's own views and optimizer.
    "liu_2025": Pretraining(
        objective=PatientContrast(temperature=0.1, projection=(320, 320)),
        encoder="pclr_resnet",
        preprocessing=PCLR_INPUT,
        batch_size=1024,
    ),
    # Diamant et al. 2022, doi:10.1371/journal.pcbi.1009862; broadinstitute/ml4h:model_zoo/PCLR. Adam at 0.1; batch of
    # 512 [M], 50 epochs [M]. No augmentation: the two recordings are the views.
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
    # Mehari & Strodthoff 2022, arXiv:2103.12676; hhi-aml/ecg-selfsupervised. 100 Hz, 2,000 epochs, batch of 4,096. Each
    # lead there is scaled by a fixed mean and deviation of PTB-XL; millivolts here, which differ by a constant.
    "mehari_simclr": Pretraining(
        objective=Simclr(), encoder="xresnet1d50", optimizer=MEHARI_OPTIMIZER, batch_size=4096
    ),
    "mehari_byol": Pretraining(
        objective=Byol(), encoder="xresnet1d50", optimizer=MEHARI_OPTIMIZER, batch_size=4096
    ),
    "mehari_swav": Pretraining(
        objective=Swav(queue=8 * 4096),
        encoder="xresnet1d50",
        optimizer=Optimizer(learning_rate=1e-3, weight_decay=1e-5),
        batch_size=4096,
    ),
    # The same: 10 s at 100 Hz, 1,000 epochs, AdamW at a constant rate.
    "mehari_cpc": Pretraining(
        objective=Cpc(),
        encoder="conv_lstm",
        optimizer=Optimizer(learning_rate=1e-4, weight_decay=1e-3, warmup=0.0, schedule="constant"),
        batch_size=32,
    ),
    # ECG-CPC; AI4HealthUOL/ecg-fm-benchmarking: 2.5 s at 240 Hz in millivolts, AdamW at a constant rate, 10 epochs of
    # 11 M recordings.
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
    # Kiyasseh et al. 2021, arXiv:2005.13249; danikiyasseh/CLOCS: frames of 5 s at 500 Hz, Adam 1e-4, batch of 256, up
    # to 400 epochs. Its frames are scaled to 0..1 (here: each lead centred and to unit variance), its encoder has three
    # convolutions and 86 k parameters (here the package's small one). cmlc and cmsmlc: --kind.
    "clocs_cmsc": Pretraining(
        objective=Clocs(kind="cmsc", lead_mask=0.0),
        encoder="compact_resnet",
        preprocessing=Preprocessing(rate_hz=500.0, normalisation="zscore_lead"),
        optimizer=Optimizer(learning_rate=1e-4, weight_decay=0.0, warmup=0.0, schedule="constant"),
        batch_size=256,
    ),
    # BELL 2024, abstract only: one branch a lead, intra- and inter-lead bootstrap. All else [I]: BYOL's.
    "bell_2024": Pretraining(objective=LeadBootstrap(), encoder="lead_branches"),
    # ASTCL 2024 (TNNLS), abstract only: noise-added and denoised views, discriminator; encoder and sizes [I].
    "astcl_2024": Pretraining(objective=Adversarial(), encoder="xresnet1d50"),
    # Sawano et al. 2024 (PLoS One), a figure's legend: 500 Hz, 10 s, patches of a lead and 250 samples, 75 % hidden.
    # ViT-Huge there, this package's small one here; optimizer and decoder are not given.
    "sawano_2024": Pretraining(
        objective=MaskedAutoencoder(span_samples=250),
        encoder="vit1d_leads",
        preprocessing=Preprocessing(rate_hz=500.0),
    ),
    # Na et al. 2024, arXiv:2402.09450; bakqui/ST-MEM: 250 Hz, z-score over the recording, AdamW at 1.5e-4 for a batch
    # of 256, weight decay 0.01, 800 epochs [M]. ViT-B and crops of 9 s there; its filter of 0.67-40 Hz is not applied.
    "st_mem": Pretraining(
        objective=MaskedAutoencoder(lead_wise=True, normalised_targets=True),
        encoder="vit1d_st_mem",
        preprocessing=Preprocessing(rate_hz=250.0, normalisation="zscore_recording"),
        optimizer=Optimizer(learning_rate=1.5e-4, weight_decay=0.01, betas=(0.9, 0.95)),
        batch_size=256,
    ),
    # Weimann & Conrad; kweimann/ECG-JEPA: 10 s at 500 Hz, AdamW 1e-3 with 10,000 of 100,000 steps warm-up, batch of
    # 2,048. There each lead is scaled by a fixed mean and deviation, then cut at five deviations, and the weight decay
    # rises from 0.01 to 0.1.
    "weimann_jepa": Pretraining(
        objective=Jepa(),
        encoder="vit1d",
        preprocessing=Preprocessing(rate_hz=500.0, normalisation="zscore_lead"),
        optimizer=Optimizer(learning_rate=1e-3, weight_decay=0.01, warmup=0.1, betas=(0.9, 0.99)),
        batch_size=2048,
    ),
    # Temporal and spatial self-supervision, Scientific Reports 2025: 500 Hz, 10 s, normalisation only. Encoder [I].
    "tssl_2025": Pretraining(
        objective=TemporalSpatial(),
        encoder="lead_branches",
        preprocessing=Preprocessing(rate_hz=500.0, normalisation="zscore_lead"),
    ),
    # DeepECG-SSL 2025; HeartWise-AI/DeepECG-SSL-finetune, w2v_cmsc_rlm.yaml: 10 s at 250 Hz, constant rate of 5e-5,
    # batch of 342 on three GPUs, two at a time. 90 M parameters and a dropout of 0.1 on features there, the package's
    # small transformer without dropout here.
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
