# Zero-shot Pascal VOC 2012 without grouping: patches grouped by spectral clustering.
#   python tools/test.py \
#     configs/baselines/vit-small-p16_zeroshot-spectral_voc12-448.py CHECKPOINT
# Needs scikit-learn: pip install "groupvit-mmseg[clustering]"
# Hardware: one GPU and a CPU, which clusters; not yet timed
# Expected: not yet measured
_base_ = './vit-small-p16_zeroshot-argmax_voc12-448.py'
model = dict(neck=dict(type='PatchClustering', method='spectral'))
