# The config below under a second name. A name in OpenMMLab's metafiles has one file of weights:
# that of the file below is GCC+YFCC, that of this one GCC+RedCaps.
#
#   python tools/test.py \
#     configs/groupvit/groupvit_vit-small-p16_zeroshot_voc12-448_gcc-redcap.py CHECKPOINT
#
# Hardware: one GPU; not yet timed
# Expected: 50.8 mIoU with the GCC+RedCaps weights (published; not yet measured here)
_base_ = './groupvit_vit-small-p16_zeroshot_voc12-448.py'
