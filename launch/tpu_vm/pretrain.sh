#!/usr/bin/env bash
# Pre-trains on an existing slice of Cloud TPU VMs:
#   TPU=my-slice ZONE=europe-west4-b launch/tpu_vm/pretrain.sh --data /mnt/data/ptb_xl/100hz/2.0.0 --workdir /mnt/runs/pretrain
# /mnt is a disk or bucket that every worker mounts. Only committed files are copied to the workers:
# no recordings, no runs, no virtual environment, no change that is not committed.
set -euo pipefail
: "${TPU:?name of the slice}" "${ZONE:?zone of the slice}"
options=$([ $# -eq 0 ] || printf ' %q' "$@")
workers=(--zone "$ZONE" --worker all)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
git -C "$(dirname "${BASH_SOURCE[0]}")/../.." archive --format tar.gz --output "$scratch/ecgjax.tar.gz" HEAD
gcloud compute tpus tpu-vm scp "$scratch/ecgjax.tar.gz" "$TPU:ecgjax.tar.gz" "${workers[@]}"
gcloud compute tpus tpu-vm ssh "$TPU" "${workers[@]}" --command \
    "mkdir -p ecgjax && tar -xzf ecgjax.tar.gz -C ecgjax && cd ecgjax && \
     python3 -m venv .venv && . .venv/bin/activate && pip install -q '.[tpu]' && \
     python -m ecgjax.launch.pretrain --distributed$options"
