# The recipe of the file below with weights, gradients and optimiser states cut into a part per GPU
# (FSDP2). Same losses, same checkpoints: either file goes on from the other's. On 16 GPUs it saves
# 0.56 of 0.89 GB each, so it is for towers wider than the paper's: docs/scaling.md,
# "Sharded weights".
#
# Command:  tools/dist_train.sh THIS_FILE 8     (on each of two machines, with NNODES=2)
# Hardware: as below; torch 2.7 or newer
# Expected: as below; here: not yet measured
_base_ = './groupvit_vit-small-p16_16xb256-coslr-30e_gcc-yfcc-224px.py'
model_wrapper_cfg = dict(type='FullyShardedModel')
