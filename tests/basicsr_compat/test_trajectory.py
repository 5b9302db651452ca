"""srcx's training steps give BasicSR's numbers, iteration by iteration."""

import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/bench/compare_with_basicsr.py"


@pytest.fixture(scope="module")
def script(basicsr):
    return runpy.run_path(str(SCRIPT))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("model_type", ["SRModel", "SRGANModel", "ESRGANModel"])
def test_twenty_iterations_equal_basicsrs(script, model_type, channels_last):
    options = script["options_of"](
        model_type,
        network_g={"type": "MSRResNet", "num_feat": 8, "num_block": 2, "upscale": 4},
        network_d={"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": 4},
    )
    result = script["compare"](options, iters=20, batch_size=2, gt_size=32, channels_last=channels_last)
    assert all(len(pairs) == 20 for pairs in result.terms.values())
    assert result.losses < 1e-5
    assert result.weights < 1e-5
