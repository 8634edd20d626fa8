#!/usr/bin/env bash
# TPU slices on GKE with XPK (pip install xpk; the cluster from `xpk cluster create` exists):
#   CLUSTER=ecg TPU_TYPE=v5litepod-256 IMAGE=europe-docker.pkg.dev/project/ecgjax/ecgjax launch/gke/pretrain.sh \
#       --data /gcs/data/mimic_iv_ecg/250hz/1.0.0 --workdir /gcs/runs/pretrain --batch-size 32768
# The image is launch/Dockerfile's; /gcs is a bucket that the cluster mounts (gcsfuse), readable by all workers.
set -euo pipefail
: "${CLUSTER:?name of the cluster}" "${TPU_TYPE:?such as v5litepod-256}" "${IMAGE:?image made from launch/Dockerfile}"
xpk workload create --cluster "$CLUSTER" --workload "ecgjax-$(date +%s)" --tpu-type "$TPU_TYPE" \
    --docker-image "$IMAGE" --command "python -m ecgjax.launch.pretrain --distributed $*"
