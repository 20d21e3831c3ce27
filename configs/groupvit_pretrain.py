# The 30-epoch GCC + YFCC recipe by its short name; the file below says what it reproduces.
#
# Command:  tools/dist_train.sh configs/groupvit_pretrain.py 8
# Hardware: as the file below says
_base_ = './groupvit/groupvit_vit-small-p16_16xb256-coslr-30e_gcc-yfcc-224px.py'
