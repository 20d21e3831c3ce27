# The segmentor of groupvit_vit-small-p16.py as the model to test. A leaf sets the classes and the
# threshold of their background.
_base_ = ['groupvit_vit-small-p16.py']
model = dict(_base_.segmentor, _delete_=True)
