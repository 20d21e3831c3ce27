#!/usr/bin/env bash
# Test on several processes of one or more machines; without GPUs the processes use the CPU.
#   tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of tools/test.py]
# More machines: NNODES, NODE_RANK, MASTER_ADDR and PORT as in MMSegmentation. One machine takes a
# free port, so that several runs fit on it.
set -euo pipefail
if [ $# -lt 3 ]; then
    echo "usage: $0 CONFIG CHECKPOINT GPUS [arguments of tools/test.py]" >&2
    exit 2
fi
CONFIG=$1
CHECKPOINT=$2
GPUS=$3
if ! [[ $GPUS =~ ^[1-9][0-9]*$ ]]; then
    echo "error: $GPUS is no number of processes: give 1 or more." >&2
    exit 2
fi
TOOLS=$(cd "$(dirname "$0")" && pwd)

if [ "${NNODES:-1}" = 1 ] && [ -z "${PORT:-}" ]; then
    MEETING=(--standalone)
else
    MEETING=(--node_rank="${NODE_RANK:-0}"
        --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}")
fi

PYTHONPATH="$TOOLS/..:${PYTHONPATH:-}" exec "${PYTHON:-python}" "$TOOLS/launch.py" \
    --nnodes="${NNODES:-1}" \
    "${MEETING[@]}" \
    --nproc_per_node="$GPUS" \
    "$TOOLS/test.py" "$CONFIG" "$CHECKPOINT" --launcher pytorch "${@:4}"
