#!/usr/bin/env bash
# A slice of Cloud TPU VMs that exists already:
#   TPU=my-slice ZONE=europe-west4-b launch/tpu_vm/pretrain.sh --data /mnt/data/ptb_xl/100hz/1.0.0 --workdir /mnt/runs/pretrain
# /mnt is a disk or bucket that every worker mounts. The repository is copied to each worker and installed there once.
set -euo pipefail
: "${TPU:?name of the slice}" "${ZONE:?its zone}"
workers=(--zone "$ZONE" --worker all)
gcloud compute tpus tpu-vm scp --recurse "$(dirname "$0")/../.." "$TPU:ecgjax" "${workers[@]}"
gcloud compute tpus tpu-vm ssh "$TPU" "${workers[@]}" --command \
    "cd ecgjax && python3 -m venv .venv && . .venv/bin/activate && pip install -q '.[tpu]' && \
     python -m ecgjax.launch.pretrain --distributed $*"
