"""MMSegmentation's first transform, with this project's reader of images."""

from __future__ import annotations

import mmcv.transforms
from mmengine import fileio
from mmseg.registry import TRANSFORMS

from groupvit_mmseg.datasets.image_decoding import read_image


@TRANSFORMS.register_module()
class LoadImageFromFile(mmcv.transforms.LoadImageFromFile):
    """Load an image as training and the demo do; errors name the file.

    It replaces mmcv's transform of this name in MMSegmentation's registry, because
    ``MMSegInferencer`` looks for the name. JPEG files, and PNG and WebP files without
    transparency, give the same values as mmcv's; transparent images lie on white, see
    :mod:`~groupvit_mmseg.datasets.image_decoding`. With another ``color_type`` or
    ``imdecode_backend`` it is mmcv's transform.

    Required key: img_path. Added keys: img, img_shape, ori_shape.
    """

    def transform(self, results: dict) -> dict | None:
        """Load one image.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is no image, or a damaged one.
        """
        if (self.color_type, self.imdecode_backend) != ('color', 'cv2') or self.file_client_args:
            return super().transform(results)
        path = results['img_path']
        try:
            image = read_image(fileio.get(path, backend_args=self.backend_args), str(path))
        except (OSError, ValueError):
            if self.ignore_empty:
                return None
            raise
        results['img'] = image.astype('float32') if self.to_float32 else image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results
