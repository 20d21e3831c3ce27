# The same with the threshold of the paper's text, preset "paper" (.5).
#
#   python tools/test.py \
#     configs/groupvit/groupvit_vit-small-p16_zeroshot_context-448-paper-threshold.py CHECKPOINT
#
# Hardware: one GPU; not yet timed
# Expected: 22.3 mIoU (paper, version 1; not yet measured here)
_base_ = './groupvit_vit-small-p16_zeroshot_context-448.py'
model = dict(decode_head=dict(bg_thresh='paper'))
