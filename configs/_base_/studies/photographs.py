# What the studies on photographs share: every tenth photograph of VOC-446 chooses the background
# threshold and is not tested.
config = '../groupvit/groupvit_conv-tiny-p8_1xb64-coslr-4e_photographs-48px.py'
calibrating = list(range(0, 446, 10))
tested = [index for index in range(446) if index % 10]
indices = 'val_dataloader.dataset.indices'
evaluations = {'threshold': {indices: tested, 'calibrate': {indices: calibrating}}}
del calibrating, tested, indices
