"""Zero-shot segmentation of the scenes by the weights of a running pretraining."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from mmseg.datasets import BaseSegDataset
from mmseg.structures import SegDataSample
from PIL import Image
from torch.utils.data import DataLoader

from groupvit_mmseg.engine import GroupViTRunner
from groupvit_mmseg.evaluation import calibrate_segmentor
from groupvit_mmseg.evaluation.metrics import OracleIoUMetric, PerClassIoUMetric
from groupvit_mmseg.visualization import (
    RGBArray,
    draw_groups,
    draw_labels,
    enlarge,
    legend,
    panel,
)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the log of metrics off the terminal."""
    handlers = MMLogger.get_current_instance().handlers
    levels = [handler.level for handler in handlers]
    for handler in handlers:
        handler.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for handler, level in zip(handlers, levels, strict=True):
            handler.setLevel(level)


class SceneEvaluation:
    """Evaluates the present weights of a pretraining on the scenes in every way.

    Args:
        runner (GroupViTRunner): Runner of the pretraining.
        cfg (Config): Its config, with the places and classes of the scenes.
    """

    def __init__(self, runner: GroupViTRunner, cfg: Config) -> None:
        self.loop = runner.val_loop
        self.segmentor = self.loop.segmentor
        self.things, self.grounds = list(cfg.things), list(cfg.grounds)
        self.colours = np.array(cfg.palette, np.uint8)
        dataloader = cfg.val_dataloader.to_dict()
        self.loaders = {'things + grounds': self._loader(dataloader)}
        self._to_background(dataloader['dataset'], cfg.palette)
        self.loaders['things + background'] = self._loader(dataloader)
        dataloader['dataset']['ann_file'] = 'ImageSets/Segmentation/calib.txt'
        self.loaders['calibration'] = self._loader(dataloader)

    @staticmethod
    def _loader(dataloader: dict) -> DataLoader:
        here = {'num_workers': 0, 'persistent_workers': False}
        return Runner.build_dataloader({**dataloader, **here})

    def _to_background(self, dataset: dict, palette: Sequence[Sequence[int]]) -> None:
        """Read the masks in which every ground is class 0."""
        classes = ['background', *self.things]
        colours = [[0, 0, 0], *palette[: len(self.things)]]
        dataset['metainfo'] = dict(classes=classes, palette=colours)
        dataset['data_prefix']['seg_map_path'] = 'SegmentationClass'

    def run(self, *, in_every_way: bool = True) -> dict[str, dict[str, object]]:
        """Measure, print a table per way, and return all numbers for the result file.

        Args:
            in_every_way (bool): Whether to measure also with PAMR, which takes longest, and with
                words for the background. Defaults to True.
        """
        self.loop.copy_weights()
        head = self.segmentor.decode_head
        head.set_classes([*self.things, *self.grounds])
        result = {'things_and_grounds': self._measure('things + grounds')}
        classes = ['background', *self.things]
        head.set_classes(classes, with_background=True, bg_thresh=0.0)
        choice = calibrate_segmentor(self.segmentor, self.loaders['calibration'])
        head.set_classes(head.classes, bg_thresh=choice.threshold)
        print(f'background threshold {choice.threshold:.4f}, {choice.provenance}')
        source = dict(bg_thresh=round(choice.threshold, 6), bg_thresh_source=choice.provenance)
        result['things_and_background'] = self._measure('things + background') | source
        if in_every_way:
            with self._refined():
                result['things_and_background_pamr'] = self._measure('things + background') | source
            head.set_classes(classes, with_background=True, background_words=self.grounds)
            print(f'words for the background: {", ".join(self.grounds)}')
            result['things_and_background_words'] = self._measure('things + background') | dict(
                background_words=self.grounds
            )
        head.set_classes([*self.things, *self.grounds])
        return result

    def _measure(self, name: str) -> dict[str, object]:
        """Measure mIoU, oracle and classes on one loader; MMSeg's metric prints its table."""
        loader = self.loaders[name]
        dataset: BaseSegDataset = loader.dataset  # type: ignore[assignment]  # as the config says
        print(f'{name}:')
        metric, oracle = PerClassIoUMetric(), OracleIoUMetric()
        for one in (metric, oracle):
            one.dataset_meta = dataset.metainfo
        for batch in loader:
            samples = [sample.to_dict() for sample in self._segment(batch)]
            metric.process(batch, samples)
            oracle.process(batch, samples)
        miou = metric.evaluate(len(dataset))['mIoU']
        with quiet():
            best = oracle.evaluate(len(dataset))['oracle/mIoU']
        return {
            'mIoU': round(miou, 2),
            'oracle_mIoU': round(best, 2),
            'class_IoU': metric.class_iou,
        }

    @torch.no_grad()
    def _segment(self, batch: dict) -> list[SegDataSample]:
        return self.segmentor.val_step(batch)

    @contextmanager
    def _refined(self, steps: int = 10) -> Iterator[None]:
        """Refine the scores with PAMR, which draws outlines along colours."""
        print(f'refined by {steps} steps of PAMR')
        options = self.segmentor.test_cfg
        self.segmentor.test_cfg = {**options, 'pamr_steps': steps}
        try:
            yield
        finally:
            self.segmentor.test_cfg = options

    def figure(self, count: int = 6, side: int = 200, footer: str = '') -> RGBArray:
        """Draw image, truth, groups and prediction of the first test scenes, side by side."""
        names = [*self.things, *self.grounds]
        batch = next(iter(self.loaders['things + grounds']))
        # Scores, not labels, are enlarged to the size of the figure: outlines are smooth.
        enlarged = [
            SegDataSample(metainfo={**sample.metainfo, 'ori_shape': (side, side)})
            for sample in batch['data_samples']
        ]
        segmented = self._segment({**batch, 'data_samples': enlarged})
        rows = []
        for truth, sample in zip(batch['data_samples'][:count], segmented, strict=False):
            image = np.asarray(Image.open(sample.metainfo['img_path']).convert('RGB'))
            image = np.asarray(
                Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
            )
            label_map = enlarge(truth.gt_sem_seg.data[0].numpy(), side)
            prediction, groups = (
                sample.get(name).get('data')[0].numpy()
                for name in ('pred_sem_seg', 'pred_group_map')
            )
            painted, answer = (
                draw_labels(image, labels, names, opacity=0.8, colours=self.colours)
                for labels in (label_map, prediction)
            )
            strip = legend(prediction, names, width=image.shape[1], colours=self.colours)
            rows.append(
                [image, painted, draw_groups(image, groups), np.concatenate([answer, strip])]
            )
        return panel(rows, ('image', 'ground truth', 'groups', 'prediction'), footer=footer)
