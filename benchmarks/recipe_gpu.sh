#!/bin/bash
# The recipe of pre-training on one lent GPU: DATA=data/ptb_xl/100hz/2.0.0 benchmarks/recipe_gpu.sh
#
# Stages are resumable: the same command goes on where it was stopped, for example by the time
# limit of a lent machine. Everything is chosen on the validation split. --smoke runs two steps of
# each stage on the CPU, on a simulated cohort.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python}
DATA=${DATA:-data/ptb_xl/100hz/2.0.0}
OUT=${OUT:-runs/recipe-gpu}
# Recordings of a run: 20 epochs of folds 1 to 8 for choices, 100 for the encoder that is kept.
SCREEN=${SCREEN:-348160}
LONG=${LONG:-1740800}
ALL="two_path_resnet compact_resnet lead_branches lead_branches:shared=true xresnet1d50"
ARCHITECTURES=${ARCHITECTURES:-$ALL}
OBJECTIVES=${OBJECTIVES:-patient_contrast simclr swav lejepa visreg}
CROPS=${CROPS:-2.5 5 multi}
BATCH=512
COMMON=(--cache device)
PROBES=(--probes.read-outs own)

if [ "${1:-}" = --smoke ]; then
    OUT=$(mktemp -d)
    trap 'rm -rf "$OUT"' EXIT
    export JAX_PLATFORMS=cpu
    if [ -z "${SMOKE_DATA:-}" ]; then
        $PYTHON -m ecgjax.launch.prepare --dataset synthetic/100hz --limit 60 \
            --out "$OUT/data"
        SMOKE_DATA=$(echo "$OUT"/data/synthetic/*/*)
    fi
    DATA=$SMOKE_DATA
    SCREEN=32
    LONG=32
    BATCH=16
    OBJECTIVES=lejepa
    CROPS=multi
    ARCHITECTURES="compact_resnet:widths=[8]"
    PROBES=(--probes.tasks af --probes.labels 16 --probes.seeds 1)
    COMMON=(--equal samples)
fi

read -r -a architectures <<<"$ARCHITECTURES"
read -r -a objectives <<<"$OBJECTIVES"
read -r -a crops <<<"$CROPS"

recipe() {
    local folder=$1
    shift
    $PYTHON -m benchmarks.recipe --data "$DATA" --out "$OUT/$folder" --batch-recordings $BATCH \
        "${COMMON[@]}" "${PROBES[@]}" "$@"
}

# 1. Architecture, with the loss that needs no other choices.
recipe architecture --architectures "${architectures[@]}" --objectives random patient_contrast \
    --crops 2.5 --recordings "$SCREEN"
# 2. Objective and crops on the first architecture.
FIRST=${FIRST:-${architectures[0]}}
recipe objective --architectures "$FIRST" --crops "${crops[@]}" --recordings "$SCREEN" \
    --objectives "${objectives[@]}"
# 3. The longest run of the two losses that need no teacher, and of the default.
recipe long --architectures "$FIRST" --crops multi --objectives lejepa visreg \
    --recordings "$LONG" --equal samples
recipe long --architectures "$FIRST" --crops 2.5 --objectives patient_contrast \
    --recordings "$LONG" --equal samples
echo "tables: $OUT/*/recipe.md"
