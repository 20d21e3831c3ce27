#!/usr/bin/env bash
# Train on several processes of one or more machines; without GPUs the processes use the CPU.
#   tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
# More machines: NNODES, NODE_RANK, MASTER_ADDR and PORT as in MMSegmentation. One machine takes a
# free port, so that several runs fit on it.
# MAX_RESTARTS=3 lets torchrun start all processes anew where one dies, on every machine; pass
# --resume with it, and the run goes on from its last checkpoint. The work dir must be shared.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: $0 CONFIG GPUS [arguments of tools/train.py]" >&2
    exit 2
fi
CONFIG=$1
GPUS=$2
if ! [[ $GPUS =~ ^[1-9][0-9]*$ ]]; then
    echo "error: $GPUS is no number of processes: give 1 or more." >&2
    exit 2
fi
TOOLS=$(cd "$(dirname "$0")" && pwd)

if [ -n "${MAX_RESTARTS:-}" ]; then
    # Machines that meet again after a failure need a meeting point instead of fixed ranks.
    MEETING=(--rdzv_backend=c10d --rdzv_id="${RUN_ID:-groupvit}"
        --rdzv_endpoint="${MASTER_ADDR:-127.0.0.1}:${PORT:-29500}" --max_restarts="$MAX_RESTARTS")
    # By default the processes find each other through one store for all restarts (since torch 2.5):
    # they may then read an address of a process that is dead and wait for it (pytorch issue 135712).
    export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
elif [ "${NNODES:-1}" = 1 ] && [ -z "${PORT:-}" ]; then
    MEETING=(--standalone)
else
    MEETING=(--node_rank="${NODE_RANK:-0}"
        --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}")
fi

PYTHONPATH="$TOOLS/..:${PYTHONPATH:-}" exec "${PYTHON:-python}" "$TOOLS/launch.py" \
    --nnodes="${NNODES:-1}" \
    "${MEETING[@]}" \
    --nproc_per_node="$GPUS" \
    "$TOOLS/train.py" "$CONFIG" --launcher pytorch "${@:3}"
