import pytest
import torch

from srcx.errors import ImageError
from srcx.tensors import check_same_shape


def test_says_both_shapes_when_they_differ():
    with pytest.raises(ImageError, match=r"^charbonnier: .* got sr \(1, 3, 8, 8\) and gt \(1, 3, 4, 4\)$"):
        check_same_shape("charbonnier", torch.rand(1, 3, 8, 8), torch.rand(1, 3, 4, 4))
    check_same_shape("charbonnier", torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8))
