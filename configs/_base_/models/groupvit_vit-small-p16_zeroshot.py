# The segmentor of groupvit_vit-small-p16.py as the model to test. A leaf names its classes and how
# their background is told.
_base_ = ['groupvit_vit-small-p16.py']
model = dict(_base_.segmentor, _delete_=True)
