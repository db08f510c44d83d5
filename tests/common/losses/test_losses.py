from __future__ import annotations

import pytest
import torch
from torch import nn

from common.losses.tasks import TaskLoss
from common.losses.weights import balanced_class_weights
from common.networks.outputs import join_outputs


def test_the_joint_loss_is_the_weighted_sum_of_its_parts() -> None:
    mask, classes = torch.randn(2, 1, 4, 4), torch.randn(2, 3)
    targets = {"mask": torch.rand(2, 1, 4, 4).round(), "class": torch.tensor([0, 2])}
    loss = TaskLoss({"mask": nn.BCEWithLogitsLoss(), "class": nn.CrossEntropyLoss()}, {"class": 0.5})
    expected = nn.BCEWithLogitsLoss()(mask, targets["mask"]) + 0.5 * nn.CrossEntropyLoss()(classes, targets["class"])
    torch.testing.assert_close(loss(join_outputs(mask, classes), targets), expected)


def test_weights_balance_the_classes() -> None:
    items = [{"label": "a"}] * 6 + [{"label": "b"}] * 2
    weights = balanced_class_weights(items, ["a", "b", "c"])
    assert weights.tolist() == pytest.approx([8 / 12, 2.0, 0.0])
    assert sum(weights[["a", "b"].index(i["label"])] for i in items) / len(items) == pytest.approx(1)
