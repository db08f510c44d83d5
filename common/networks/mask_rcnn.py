"""Mask R-CNN for lesions of mammograms: torchvision's, with a ResNet and a feature pyramid, on grey images.

Origin: He et al., Mask R-CNN, arXiv:1703.06870 (2017); Lin et al., Feature Pyramid Networks, arXiv:1612.03144 (2017),
as torchvision (BSD-3-Clause) has them. Written for this collection; Apache-2.0.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torchvision
from torch import nn
from torchvision.models.detection import MaskRCNN, MaskRCNN_ResNet50_FPN_Weights
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FrozenBatchNorm2d

from common.data.flags import flag
from common.networks.freezing import layers_of
from common.networks.weights import load_weights

LEVELS = 5  # of the pyramid: strides 4, 8, 16, 32, 64
STAGES = {"heads": 6, "5+": 5, "4+": 4, "3+": 3, "2+": 2, "all": 1}  # the first of the ResNet's stages that trains
NORMS = {"frozen": FrozenBatchNorm2d, "batch": nn.BatchNorm2d, "group": lambda channels: nn.GroupNorm(32, channels)}
RATIOS = (0.5, 1.0, 2.0)  # of an anchor's height over its width


class LesionMaskRCNN(MaskRCNN):
    """Mask R-CNN whose backbone can be let loose in stages.

    Args:
        classes: names of what is found, background not among them.
        backbone: torchvision's name of a ResNet.
        pretrained: COCO weights for "resnet50", ImageNet weights for the others' backbone.
        weights: a file with a state dict of this whole network to start from instead.
        norm: of the backbone: "frozen" (statistics and factors of the weights it starts from), "batch", or "group",
            which small batches from random weights need.
        pyramid: channels of the feature pyramid, which takes most of the time with a small ResNet.
        anchors: side lengths in pixels: five, one for each level of the pyramid, or any other number, all on each.
        mean, deviation: of the mammograms' pixels.
        detections: how many an image has at most.
        score_threshold: below it nothing is a detection.
        nms_threshold: of two boxes of a class that overlap more, the better one stays.
        trainable: a key of ``STAGES``.
        options: more arguments of torchvision's `MaskRCNN`, such as ``rpn_post_nms_top_n_test``.

    Shapes:
        a list of images (1, H, W) in [0, 1], and for training a list of targets with ``boxes`` (N, 4) as (x1, y1, x2,
        y2), ``labels`` (N,) from 1, ``masks`` (N, H, W); gives a dictionary of losses, and else a list of ``boxes``,
        ``labels``, ``scores`` (N,), ``masks`` (N, 1, H, W) in [0, 1].

    Raises:
        ValueError: an unknown backbone, norm or stage, or no anchors or classes.
        OSError: the weights cannot be fetched; the message says what to do.
    """

    def __init__(
        self,
        classes: Sequence[str] = ("mass",),
        backbone: str = "resnet101",
        pretrained: bool = True,
        weights: str | os.PathLike | None = None,
        norm: str = "frozen",
        pyramid: int = 256,
        anchors: Sequence[int] = (16, 32, 64, 128, 256),
        mean: float = 0.2,
        deviation: float = 0.25,
        detections: int = 20,
        score_threshold: float = 0.05,
        nms_threshold: float = 0.3,
        trainable: str = "all",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if norm not in NORMS or not classes or not anchors or backbone not in torchvision.models.list_models():
            raise ValueError(
                f"Classes {list(classes)} and anchors {list(anchors)} have to be some, the norm one of {list(NORMS)}, "
                f"not '{norm}', and the backbone a ResNet of torchvision, not '{backbone}'."
            )
        fetched = flag(pretrained) and weights is None
        if fetched and norm == "group":
            raise ValueError("Pretrained weights have batch normalisation: choose --norm frozen or batch.")
        coco = fetched and backbone == "resnet50" and pyramid == 256
        super().__init__(
            _backbone(backbone, fetched and not coco, norm, pyramid),
            len(classes) + 1,
            rpn_anchor_generator=AnchorGenerator(_sizes(anchors), (RATIOS,) * LEVELS),
            box_detections_per_img=detections,
            box_score_thresh=score_threshold,
            box_nms_thresh=nms_threshold,
            **(options or {}),
        )
        self.transform = _AsLarge(0, 0, [mean] * 3, [deviation] * 3)
        last: Any = self.roi_heads.mask_predictor
        nn.init.normal_(last.mask_fcn_logits.weight, std=0.001)  # torchvision's begins with logits of 15 and beyond
        if coco:
            self._load_coco()
        load_weights(self, weights)
        self.still: list[nn.Module] = []
        self.unfreeze(trainable)

    def _load_coco(self) -> None:
        """Take everything but the last layers, whose classes are others."""
        found = _fetched(lambda: MaskRCNN_ResNet50_FPN_Weights.COCO_V1.get_state_dict(progress=False))
        own = self.state_dict()
        same = {key: value for key, value in found.items() if key in own and value.shape == own[key].shape}
        self.load_state_dict(same, strict=False)

    def unfreeze(self, trainable: str) -> None:
        """Let the heads train (pyramid, proposals, boxes, masks), and the ResNet from a stage on.

        Raises:
            ValueError: not a key of ``STAGES``.
        """
        if trainable not in STAGES:
            raise ValueError(f"What trains is one of {list(STAGES)}, not '{trainable}'.")
        body: Any = self.backbone.body
        parts = {1: [body.conv1, body.bn1], 2: [body.layer1], 3: [body.layer2], 4: [body.layer3], 5: [body.layer4]}
        self.requires_grad_(True)
        held = [part for stage, some in parts.items() if stage < STAGES[trainable] for part in some]
        for part in held:
            part.requires_grad_(False)
        self.still = [layer for part in held for layer in layers_of(part)]
        self.train(self.training)

    def train(self, mode: bool = True) -> LesionMaskRCNN:
        """Switch to training; stages that are held still keep their statistics."""
        super().train(mode)
        for layer in getattr(self, "still", []):
            layer.eval()
        return self


class _AsLarge(GeneralizedRCNNTransform):
    """Normalise and pad images, and leave their size; a grey one is spread over three channels by the mean."""

    def resize(
        self, image: torch.Tensor, target: dict[str, torch.Tensor] | None = None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor] | None]:
        return image, target


def _backbone(name: str, pretrained: bool, norm: str, pyramid: int) -> nn.Module:
    weights = torchvision.models.get_model_weights(name).DEFAULT if pretrained else None
    resnet = _fetched(lambda: torchvision.models.get_model(name, weights=weights, norm_layer=NORMS[norm]))
    levels = {f"layer{stage}": str(stage - 1) for stage in range(1, 5)}
    channels = [resnet.inplanes // 2**halved for halved in (3, 2, 1, 0)]
    return BackboneWithFPN(resnet, levels, channels, pyramid)


def _fetched(make: Any) -> Any:
    try:
        return make()
    except Exception as error:
        raise OSError(
            "The pretrained weights cannot be fetched (no network?). Train without them by --pretrained false, or give "
            "a state dict by --weights FILE."
        ) from error


def _sizes(anchors: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Return the sizes of each level: one each where there are as many as levels, and else all on each."""
    sizes = tuple(int(size) for size in anchors)
    return tuple((size,) for size in sizes) if len(sizes) == LEVELS else (sizes,) * LEVELS
