#!/usr/bin/env bash
# Pre-trains on TPU slices of GKE with XPK (pip install xpk; `xpk cluster create` has made the cluster):
#   CLUSTER=ecg TPU_TYPE=v5litepod-256 IMAGE=europe-docker.pkg.dev/project/ecgjax/ecgjax launch/gke/pretrain.sh \
#       --data /gcs/data/mimic_iv_ecg/500hz/2.0.0 --workdir /gcs/runs/pretrain --batch-size 32768
# The image is built from launch/Dockerfile. /gcs is a bucket that the cluster mounts (gcsfuse) for all workers.
# Keep --docker-image: XPK's --base-docker-image would copy the current folder into the image, recordings included.
set -euo pipefail
: "${CLUSTER:?name of the cluster}" "${TPU_TYPE:?such as v5litepod-256}" "${IMAGE:?image built from launch/Dockerfile}"
options=$([ $# -eq 0 ] || printf ' %q' "$@")
xpk workload create --cluster "$CLUSTER" --workload "ecgjax-$(date +%s)" --tpu-type "$TPU_TYPE" \
    --docker-image "$IMAGE" --command "python -m ecgjax.launch.pretrain --distributed$options"
