# SETR with progressive upsampling: four 3x3 convolutions, each followed by a doubling.
_base_ = ['setr-naive_groupvit-small-p16.py']
model = dict(decode_head=dict(num_convs=4, up_scale=2, kernel_size=3))
