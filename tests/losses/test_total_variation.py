import torch
from torch.testing import assert_close

from srcx.losses.total_variation import TotalVariationLoss, total_variation


def test_counts_both_directions():
    x = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])
    assert_close(total_variation(x), torch.tensor(1.0))  # columns differ by 1, rows by 0
    assert_close(total_variation(x.mT), torch.tensor(1.0))


def test_a_constant_image_costs_nothing_whatever_the_ground_truth():
    assert TotalVariationLoss()(torch.ones(1, 3, 4, 4), torch.rand(1, 3, 4, 4)) == 0
