from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from common.data.heads import heads_of, slices_of
from common.losses.heads import HeadsLoss
from common.losses.weights import positive_weight

HEADS = [
    {"name": "cancer", "weight": 0.8},
    {"name": "side", "values": ["L", "R"], "weight": 0.1},
    {"name": "view", "kind": "classes", "values": ["CC", "MLO"], "weight": 0.1},
    {"name": "age", "kind": "number", "mean": 60.0, "std": 10.0, "weight": 0.0},
]
NAN = math.nan


def test_targets_are_places_numbers_or_not_known() -> None:
    _, side, view, age = heads_of(HEADS)
    assert (side.target("R"), view.target("MLO"), age.target(75)) == (1.0, 1.0, 1.5)
    assert all(math.isnan(value) for value in (side.target(None), view.target("AT"), age.target(""), age.target(NAN)))
    assert [part.stop for part in slices_of(heads_of(HEADS))] == [1, 2, 4, 5]


def test_the_loss_by_hand() -> None:
    pred, target = torch.zeros(2, 5), torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, 0]])
    assert HeadsLoss(HEADS)(pred, target).item() == pytest.approx(math.log(2))
    exits = torch.zeros(2, 7)
    assert HeadsLoss(HEADS, exits=2)(exits, target).item() == pytest.approx((1 + 1.6) * math.log(2))


def test_a_missing_target_teaches_nothing() -> None:
    pred = torch.randn(3, 5, requires_grad=True)
    target = torch.tensor([[1.0, NAN, NAN, NAN], [0, NAN, 1, NAN], [0, NAN, NAN, NAN]])
    loss = HeadsLoss(HEADS)
    loss(pred, target).backward()
    assert pred.grad is not None and pred.grad[:, 1].tolist() == [0, 0, 0] and pred.grad[:, 4].tolist() == [0, 0, 0]
    assert (pred.grad[1, 2:4] != 0).all() and (pred.grad[[0, 2], 2:4] == 0).all()
    assert loss(pred, torch.full((3, 4), NAN)).item() == 0


def test_smoothing_and_weights_of_the_main_head() -> None:
    pred, target = torch.tensor([[2.0]]), torch.tensor([[1.0]])
    smooth = HeadsLoss(HEADS[:1], label_smoothing=0.2)(pred, target)
    assert smooth.item() == pytest.approx(0.8 * F.binary_cross_entropy_with_logits(pred, torch.tensor([[0.9]])).item())
    heavy = HeadsLoss(HEADS[:1], torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor([3.0])))(pred, target)
    assert heavy.item() == pytest.approx(3 * HeadsLoss(HEADS[:1])(pred, target).item())


def test_a_focal_loss_with_gamma_0_is_cross_entropy() -> None:
    from monai.losses import FocalLoss

    pred, target = torch.randn(8, 1), (torch.rand(8, 1) < 0.5).float()
    focal = HeadsLoss(HEADS[:1], FocalLoss(gamma=0.0))(pred, target)
    torch.testing.assert_close(focal, HeadsLoss(HEADS[:1])(pred, target))


def test_positives_weigh_as_much_as_there_are_negatives_for_each() -> None:
    items = [{"cancer": 1}, *[{"cancer": 0}] * 9]
    assert positive_weight(items).tolist() == [9] and positive_weight(items, most=4).tolist() == [4]
    with pytest.raises(ValueError, match="None of 9 training items has 'cancer'"):
        positive_weight(items[1:])


@pytest.mark.parametrize(
    "heads",
    [[], [{"name": "age", "kind": "number"}], [HEADS[0], HEADS[0]], [HEADS[0], {"name": "x", "kind": "rank"}]],
    ids=["none", "number first", "twice", "unknown kind"],
)
def test_impossible_heads_are_refused(heads) -> None:
    with pytest.raises(ValueError, match=r"head|Head"):
        heads_of(heads)


def test_classes_may_come_first_and_have_no_deep_exits() -> None:
    classes = [{"name": "label", "kind": "classes", "values": ["a", "b", "c"]}]
    logits, target = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), torch.tensor([[0.0], [1.0]])
    loss = HeadsLoss(classes)(logits, target)
    assert float(loss) == pytest.approx(float(torch.nn.functional.cross_entropy(logits, target[:, 0].long())))
    smooth = HeadsLoss(classes, label_smoothing=0.1)(logits, target)
    assert smooth > loss
    with pytest.raises(ValueError, match="has to be binary here"):
        HeadsLoss(classes, exits=2)


def test_a_network_with_other_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="gives 4 logits; 5"):
        HeadsLoss(HEADS)(torch.zeros(1, 4), torch.zeros(1, 4))
