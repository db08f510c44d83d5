"""Mask R-CNN on grey images: shapes in and out, stages, and what cannot be made."""

from __future__ import annotations

import pytest
import torch

from common.networks.mask_rcnn import STAGES, LesionMaskRCNN


def make(**options) -> LesionMaskRCNN:
    torch.manual_seed(0)
    given = {"backbone": "resnet18", "pretrained": False, "norm": "batch", **options}
    return LesionMaskRCNN(**given)


def target(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (64, 96)) -> dict[str, torch.Tensor]:
    masks = torch.zeros(len(boxes), *size, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = 1
    labels = torch.ones(len(boxes), dtype=torch.int64)
    return {"boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), "labels": labels, "masks": masks}


def test_masks_begin_undecided() -> None:
    losses = make().train()([torch.rand(1, 64, 96)] * 2, [target((10, 20, 40, 50))] * 2)
    assert float(losses["loss_mask"]) == pytest.approx(0.693, abs=0.05)


@pytest.mark.parametrize("training", [True, False])
def test_images_keep_their_size_in_training_and_after(training: bool) -> None:
    network, seen = make().train(training), []
    network.backbone.body.conv1.register_forward_hook(lambda module, args, output: seen.append(args[0].shape))
    network([torch.rand(1, 64, 96)], [target((10, 20, 40, 50))])
    assert seen == [(1, 3, 64, 96)]


def test_losses_in_training_with_and_without_lesions_and_detections_after() -> None:
    network, images = make(), [torch.rand(1, 64, 96), torch.rand(1, 64, 96)]
    losses = network.train()(images, [target((10, 20, 40, 50)), target()])
    assert set(losses) == {"loss_classifier", "loss_box_reg", "loss_mask", "loss_objectness", "loss_rpn_box_reg"}
    assert all(torch.isfinite(loss) for loss in losses.values())
    nothing = network([images[0]], [target()])
    assert all(torch.isfinite(loss) for loss in nothing.values()) and float(nothing["loss_box_reg"]) == 0
    found = make(score_threshold=0.0, detections=7).eval()(images)
    assert all(len(one["boxes"]) <= 7 and one["masks"].shape[1:] == (1, 64, 96) for one in found)


def test_a_grey_image_is_normalised_over_three_channels() -> None:
    network = make(mean=0.5, deviation=0.25)
    images, _ = network.transform([torch.full((1, 64, 96), 0.75)])
    assert images.tensors.shape == (1, 3, 64, 96) and torch.all(images.tensors == 1)


@pytest.mark.parametrize("stage", STAGES)
def test_stages_hold_the_resnet_still_up_to_theirs(stage: str) -> None:
    network = make(trainable=stage).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=0.1)
    sum(network([torch.rand(1, 64, 96)], [target((10, 20, 40, 50))]).values()).backward()
    optimizer.step()
    moved = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    bodies = {key.split(".")[2] for key in moved if key.startswith("backbone.body.")}
    every = ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4"]
    first = {6: 6, 5: 5, 4: 4, 3: 3, 2: 2, 1: 0}[STAGES[stage]]
    assert bodies == set(every[first:])
    assert {"backbone.fpn.inner_blocks.0.0.weight", "roi_heads.box_predictor.cls_score.weight"} <= moved


def test_anchors_one_a_level_or_all_on_each() -> None:
    assert make().rpn.anchor_generator.sizes == ((16,), (32,), (64,), (128,), (256,))
    assert make(anchors=[8, 24]).rpn.anchor_generator.sizes == ((8, 24),) * 5
    assert make(classes=["benign", "malignant"]).roi_heads.box_predictor.cls_score.out_features == 3


@pytest.mark.parametrize(
    "options",
    [{"norm": "layer"}, {"classes": []}, {"anchors": []}, {"backbone": "resnet1"}, {"trainable": "half"},
     {"norm": "group", "pretrained": True}],
    ids=["norm", "no class", "no anchor", "backbone", "stage", "pretrained group norm"],
)  # fmt: skip
def test_what_cannot_be_made_says_why(options) -> None:
    with pytest.raises(ValueError, match=r"have to be some|What trains|Pretrained weights"):
        make(**options)
