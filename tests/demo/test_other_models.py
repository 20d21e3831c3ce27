"""The adapters of demo/other_models at small size with random weights."""

import json
import sys
from pathlib import Path

import mmseg
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmseg.models.decode_heads import san_head
from mmseg.registry import MODELS
from PIL import Image

from groupvit_mmseg.config_files import read_config
from groupvit_mmseg.text import tokenize
from groupvit_mmseg.text.class_list import make_class_list

from loading import load_file

transformers = pytest.importorskip('transformers', reason='the models are not installed')
if tuple(map(int, transformers.__version__.split('.')[:2])) < (4, 45):
    pytest.skip('the examples need transformers 4.45', allow_module_level=True)
ROOT = Path(__file__).parents[2]
FOLDER = ROOT / 'demo/other_models'
TEXT = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
VISION = dict(TEXT, num_hidden_layers=2, image_size=32, patch_size=8)
SHARED = dict(text_config=TEXT, projection_dim=8)


@pytest.fixture(autouse=True)
def _adapters_are_forgotten():
    """Modules beside a config are imported anew, and what they registered is no duplicate."""
    known, path = dict(MODELS.module_dict), list(sys.path)
    yield
    MODELS._module_dict.clear()
    MODELS._module_dict.update(known)
    sys.path[:] = path
    for file in FOLDER.glob('*.py'):
        sys.modules.pop(file.stem, None)


def clip():
    return transformers.CLIPModel(transformers.CLIPConfig(vision_config=VISION, **SHARED))


def clipseg():
    settings = dict(reduce_dim=8, extract_layers=[0, 1], decoder_num_attention_heads=2)
    options = dict(settings, decoder_intermediate_size=16)
    return transformers.CLIPSegForImageSegmentation(
        transformers.CLIPSegConfig(vision_config=VISION, **SHARED, **options)
    )


def groupvit():
    vision = dict(
        hidden_size=16,
        intermediate_size=32,
        depths=[1, 1],
        num_hidden_layers=2,
        num_group_tokens=[4, 0],
        num_output_groups=[4, 0],
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        assign_mlp_ratio=[0.5, 4],
    )
    return transformers.GroupViTModel(
        transformers.GroupViTConfig(vision_config=vision, projection_intermediate_dim=16, **SHARED)
    )


NETS = {
    'maskclip': clip,
    'sclip': clip,
    'clearclip': clip,
    'clipseg_rd64': clipseg,
    'hugging_face_groupvit': groupvit,
}


def adapter(name, path, **changes):
    """The model of a config, with small random weights."""
    net = NETS[name]().eval()
    net.save_pretrained(path)
    config = read_config(FOLDER / f'{name}.py').model.model
    model = MODELS.build({**config, **changes}).eval()
    model.load_checkpoint(path / 'model.safetensors')
    return net, model


@pytest.mark.parametrize('name', NETS)
@torch.no_grad()
def test_logits_of_any_window(name, tmp_path):
    _, model = adapter(name, tmp_path)
    prompts = make_class_list(['cat', 'dog', 'bus'], templates='subset').prompts
    embeds = model.embed_prompts(prompts)
    logits = model(torch.randn(2, 3, 40, 50), embeds)
    assert logits.shape[:2] == (2, 3)
    assert logits.isfinite().all()
    assert logits.std() > 0
    single = model(torch.randn(1, 3, 32, 32), embeds[[2, 0, 1]])
    assert single.shape[:2] == (1, 3)


@torch.no_grad()
def test_permuted_prompts_permute_the_logits(tmp_path):
    for index, name in enumerate(NETS):
        _, model = adapter(name, tmp_path / str(index))
        embeds = model.embed_prompts(make_class_list(['cat', 'dog', 'bus']).prompts)
        images = torch.randn(1, 3, 32, 32)
        torch.testing.assert_close(
            model(images, embeds[[2, 0, 1]]), model(images, embeds)[:, [2, 0, 1]]
        )


@torch.no_grad()
def test_plain_attention_is_that_of_transformers(tmp_path):
    net, model = adapter('maskclip', tmp_path, attention='clip')
    images = torch.randn(2, 3, 40, 48)
    output = net.vision_model(images, interpolate_pos_encoding=True, output_hidden_states=True)
    block = net.vision_model.encoder.layers[-1]
    ours = model.last_block(block, output.hidden_states[-2])
    torch.testing.assert_close(ours, output.last_hidden_state)
    embeds = model.embed_prompts(make_class_list(['cat'], templates='identity').prompts)
    token_ids = tokenize('cat')
    theirs = net.text_projection(net.text_model(token_ids).pooler_output)
    torch.testing.assert_close(embeds, F.normalize(theirs, dim=-1))


@torch.no_grad()
def test_maskclip_has_no_attention_between_patches(tmp_path):
    for index, (attention, moves) in enumerate((('maskclip', False), ('sclip', True))):
        net, model = adapter('maskclip', tmp_path / str(index), attention=attention)
        tokens = torch.randn(1, 17, 16)
        other = tokens.clone()
        other[:, 5] = torch.randn(16)
        block = net.vision_model.encoder.layers[-1]
        change = (model.last_block(block, other) - model.last_block(block, tokens)).abs().amax(-1)
        assert change[0, 5] > 1e-3
        assert (change[0, 6] > 0) == moves


@torch.no_grad()
def test_sclip_adds_the_attention_of_queries_and_of_keys(tmp_path):
    net, model = adapter('sclip', tmp_path)
    layer = net.vision_model.encoder.layers[-1].self_attn
    for projection in (layer.q_proj, layer.k_proj, layer.v_proj):
        torch.nn.init.normal_(projection.weight)
    tokens = torch.randn(1, 5, 16)
    q, k, v = (
        project(tokens)[0].view(5, 2, 8) for project in (layer.q_proj, layer.k_proj, layer.v_proj)
    )
    mixed = torch.zeros(5, 2, 8)
    for head in range(2):
        for row in range(5):
            for part in (q, k):
                logits = torch.stack([part[row, head] @ part[i, head] for i in range(5)])
                mixed[row, head] += (logits / 8**0.5).softmax(0) @ v[:, head]
    expected = layer.out_proj(mixed.view(5, 16))
    torch.testing.assert_close(model.attend(layer, tokens)[0], expected)


@torch.no_grad()
def test_clipseg_gives_the_logits_of_its_own_forward(tmp_path):
    net, model = adapter('clipseg_rd64', tmp_path, side=32)
    prompts = make_class_list(['cat', 'dog'], templates='identity').prompts
    image = torch.randn(1, 3, 32, 32)
    ours = model(image, model.embed_prompts(prompts))[0]
    theirs = net(input_ids=tokenize(['cat', 'dog']), pixel_values=image.expand(2, -1, -1, -1))
    torch.testing.assert_close(ours, theirs.logits)


@torch.no_grad()
def test_groupvit_gives_the_segmentation_of_its_own_forward(tmp_path):
    _, model = adapter('hugging_face_groupvit', tmp_path)
    prompts = make_class_list(['cat', 'dog'], templates='identity').prompts
    image = torch.randn(1, 3, 32, 32)
    theirs = model.net(tokenize(['cat', 'dog']), image, output_segmentation=True)
    scale = model.logit_scale**2  # it multiplies by its scale twice
    ours = model(image, model.embed_prompts(prompts))
    torch.testing.assert_close(ours, theirs.segmentation_logits / scale, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope='module')
def own_set(tmp_path_factory):
    """Images, masks and a class file."""
    root, rng = tmp_path_factory.mktemp('own'), np.random.default_rng(0)
    for folder in ('images', 'masks'):
        (root / folder).mkdir()
    for index in range(2):
        pixels = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
        Image.fromarray(pixels).save(root / f'images/{index}.png')
        labels = rng.integers(0, 3, (5, 6), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
        Image.fromarray(labels).save(root / f'masks/{index}.png')
    (root / 'classes.txt').write_text('background: sky\ncat, kitten\ndog\n')
    return root


def evaluate(own_set, config, checkpoint, out, *options):
    module = load_file('tools/evaluate.py')
    files = [f'--{kind}={own_set / kind}' for kind in ('images', 'masks')]
    arguments = [f'--config={config}', f'--out={out}', '--device=cpu', '--workers=0', *files]
    changes = ['bg_thresh=0.2', 'short_side=40', 'crop_size=32', 'stride=16']
    classes = f'--classes={own_set / "classes.txt"}'
    return module.main([str(checkpoint), *arguments, classes, '--change', *changes, *options])


def test_another_model_in_the_table(own_set, tmp_path):
    clip().save_pretrained(tmp_path / 'weights')
    config = FOLDER / 'sclip.py'
    assert evaluate(own_set, config, tmp_path / 'weights', tmp_path / 'out', '--pictures=1') == 0
    result = json.loads((tmp_path / 'out/own.json').read_text())
    assert 0 < result['metrics']['mIoU'] < 100
    assert len(result['checkpoint']['sha256']) == 64
    assert 'all classes, not the 5 nearest' in result['protocol']['caveat']
    assert (tmp_path / 'out/pictures/own_best.jpg').exists()


ADAPTER = """
import torch
from mmseg.registry import MODELS
from groupvit_mmseg.models import OpenVocabularyModel

@MODELS.register_module(force=True)
class Mine(OpenVocabularyModel):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(3))

    def embed_prompts(self, prompts):
        return torch.eye(len(prompts), 3)

    def forward(self, images, prompt_embeds):
        return torch.einsum('bdhw,kd->bkhw', images + self.weight[:, None, None], prompt_embeds)
"""


def test_an_adapter_of_a_few_lines_beside_its_config(own_set, tmp_path, capsys):
    (tmp_path / 'my_adapter.py').write_text(ADAPTER)
    (tmp_path / 'mine.py').write_text(
        "custom_imports = dict(imports=['my_adapter'])\n"
        "model = dict(type='OpenVocabularySegmentor', model=dict(type='Mine'))\n"
    )
    torch.save(dict(weight=torch.zeros(3)), tmp_path / 'weights.pth')
    files = (tmp_path / 'mine.py', tmp_path / 'weights.pth', tmp_path / 'out')
    assert evaluate(own_set, *files, '--pictures=0') == 0
    # Another code would give other numbers: the journal of the first is not continued.
    (tmp_path / 'my_adapter.py').write_text(ADAPTER + '\n# changed\n')
    assert evaluate(own_set, *files, '--pictures=0') == 2
    assert 'begun with another model' in capsys.readouterr().err
    sys.modules.pop('my_adapter')


def test_a_model_that_mmsegmentation_builds(own_set, tmp_path, monkeypatch):
    # Its constructor asks for compiled operators, which only its losses use.
    monkeypatch.setattr(san_head, 'point_sample', object())
    small = read_config(FOLDER / 'san_vit_b16.py')
    configs = Path(mmseg.__file__).parent / '.mim/configs'
    segmentor = Config.fromfile(configs / small.model.model.segmentor).model
    segmentor.pretrained = None
    segmentor.image_encoder.update(embed_dims=16, num_layers=4, num_heads=2, img_size=(32, 32))
    segmentor.image_encoder.out_indices = (1, 2, 3)
    segmentor.text_encoder.update(embed_dims=16, num_layers=1, num_heads=2, output_dims=8)
    head = segmentor.decode_head
    head.san_cfg.update(clip_channels=16, embed_dims=12, num_queries=5)
    head.san_cfg.cfg_encoder.update(num_encode_layer=4, num_heads=2)
    head.san_cfg.fusion_index = [0, 1, 2, 3]
    head.san_cfg.cfg_decoder.update(num_heads=2, embed_channels=16, mlp_channels=16)
    head.maskgen_cfg.update(sos_token_num=5, num_layers=1, embed_dims=16, num_heads=2, out_dims=8)
    head.deep_supervision_idxs = []
    small.model.model.segmentor = segmentor
    small.dump(tmp_path / 'san.py')
    segmentor.decode_head.train_cfg = None
    model = MODELS.build(segmentor)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'san.pth')
    files = (tmp_path / 'san.py', tmp_path / 'san.pth', tmp_path / 'out')
    assert evaluate(own_set, *files, '--pictures=0') == 0
    assert 0 < json.loads((tmp_path / 'out/own.json').read_text())['metrics']['mIoU'] < 100
