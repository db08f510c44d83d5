"""Classify, then segment: two trained networks as one.

Origin: the web page of C. Bergossi et al., Computer Vision for Breast Cancer Detection, Università Bocconi
(2024), section 4. Written for this collection; Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.transforms import CenterSpatialCrop
from torch import nn
from torch.nn import functional as F

from common.networks.outputs import join_outputs


class Cascade(nn.Module):
    """Run a classifier and a segmentation network on one image, each at the size that it was trained at.

    Whether the mask counts is decided afterwards by the class, as for every network with both outputs
    (`common.transforms.outputs.DecideMaskd`).

    Args:
        classifier: (B, 1, *crop) to class logits (B, C).
        segmenter: (B, 1, *size) to mask logits (B, 1, *size).
        classifier_size: centre crop of the input for the classifier, pixels.
        segmenter_size: what the input is resized to for the segmenter, pixels.

    Shapes:
        normalised image (B, 1, H, W) to (B, 1 + C, H, W), see `common.networks.outputs`.
    """

    def __init__(
        self,
        classifier: nn.Module,
        segmenter: nn.Module,
        classifier_size: Sequence[int] = (224, 224),
        segmenter_size: Sequence[int] = (64, 64),
    ) -> None:
        super().__init__()
        self.classifier, self.segmenter = classifier, segmenter
        self.crop = CenterSpatialCrop(classifier_size)
        self.segmenter_size = list(segmenter_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        classes = self.classifier(torch.stack([self.crop(image) for image in x]))  # (B, C)
        small = F.interpolate(x, self.segmenter_size, mode="bilinear", antialias=True)
        small = (small - small.mean((2, 3), keepdim=True)) / small.std((2, 3), keepdim=True).clamp_min(1e-6)
        mask = F.interpolate(self.segmenter(small), x.shape[2:], mode="bilinear")  # (B, 1, H, W)
        return join_outputs(mask, classes)
