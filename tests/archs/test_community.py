"""The networks of spandrel by name, and what their weights tell."""

import importlib
import json

import pytest
import torch
from spandrel import MAIN_REGISTRY

from srcx.archs.community import (
    OTHER_WORK,
    arguments_of,
    community_network,
    community_networks,
    recognise,
    renamed,
)
from srcx.basicsr_compat.parts import AllParts
from srcx.config.part_options import SPANDREL
from srcx.errors import OptionsError
from srcx.registry import known_arguments

SPAN = {"num_in_ch": 3, "num_out_ch": 3, "feature_channels": 8, "upscale": 2}
RRDB = {"num_filters": 8, "num_blocks": 2, "scale": 4}


def made(name, args):
    return community_network(f"spandrel.{name}")(**args)


def test_every_architecture_of_spandrel_has_a_name_but_those_for_other_work():
    packages = {type(support.architecture).__module__ for support in MAIN_REGISTRY.architectures()}
    for package in packages:
        exported = importlib.import_module(package).__all__
        named = [name for name in exported if SPANDREL + name in community_networks()]
        assert bool(named) != bool(OTHER_WORK & set(exported)), package
    assert len(community_networks()) > 40


@pytest.mark.parametrize("name", community_networks())
def test_every_argument_of_every_network_can_be_read(name):
    assert known_arguments(community_networks()[name], eval_str=True)


def test_a_file_cannot_give_a_class():
    assert "norm_layer" not in known_arguments(community_network("spandrel.HAT"))


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        ({"feature_chanels": 8}, ("feature_chanels", "unknown argument; did you mean 'feature_channels'?")),
        ({"num_in_ch": "3"}, ("num_in_ch", "expected a whole number, got '3'")),
    ],
)
def test_arguments_are_checked_by_the_signature(args, problem):
    assert AllParts().problems("network", "spandrel.SPAN", {**SPAN, **args}) == [problem]


def test_a_needed_argument_is_named():
    missing = AllParts().problems("network", "spandrel.SPAN", {"num_in_ch": 3})
    assert missing == [(None, "SPAN needs the argument 'num_out_ch'")]


@pytest.mark.parametrize(
    ("name", "near"),
    [("SPAM", "SPAN"), ("swinir", "SwinIR"), ("RRDBNet", "ESRGAN"), ("RealPLKSRR", "RealPLKSR")],
)
def test_names_the_nearest_network_also_by_its_authors_name(name, near):
    with pytest.raises(OptionsError, match=rf"no such network for images; did you mean 'spandrel\.{near}'\?"):
        community_network(f"spandrel.{name}")


def test_lists_all_where_none_is_near():
    with pytest.raises(OptionsError, match=r"it has spandrel\.ATD, "):
        community_network("spandrel.Qqq")


def test_a_name_without_prefix_is_pointed_to_spandrel():
    ((_, message),) = AllParts().problems("network", "HAT", {})
    assert message.startswith("unknown network 'HAT'; did you mean 'spandrel.HAT'?")


def test_a_network_of_spandrel_that_has_no_name_here_has_no_arguments():
    assert (
        arguments_of(torch.nn.Identity()) is None
    )  # as GFPGAN, which spandrel upscales and srcx does not train


def test_arguments_of_a_network_make_it_again_and_are_json():
    net = made("PLKSR", {"dim": 8, "n_blocks": 1, "upscaling_factor": 2, "sparse_kernels": (3, 3, 3, 3)})
    name, args = arguments_of(net)
    assert args == {"dim": 8, "n_blocks": 1, "upscaling_factor": 2, "sparse_kernels": [3, 3, 3, 3]}
    again = community_network(name)(**json.loads(json.dumps(args)))
    assert {key: one.shape for key, one in again.state_dict().items()} == {
        key: one.shape for key, one in net.state_dict().items()
    }


def test_weights_by_the_names_of_real_esrgan_are_renamed(real_esrgan_names):
    net = made("ESRGAN", RRDB)
    of_others = real_esrgan_names(made("ESRGAN", RRDB).state_dict())
    net.load_state_dict(renamed(net, of_others))
    torch.testing.assert_close(net.state_dict()["model.0.weight"], of_others["conv_first.weight"])
    torch.testing.assert_close(
        net.state_dict()["model.1.sub.1.RDB3.conv5.0.bias"], of_others["body.1.rdb3.conv5.bias"]
    )


def test_weights_of_another_network_stay_as_they_are():
    state = made("SPAN", SPAN).state_dict()
    assert renamed(made("ESRGAN", RRDB), state) is state
    assert renamed(torch.nn.Conv2d(3, 3, 1), state) is state


def test_weights_of_no_network_stay_as_they_are():
    state = {"weight": torch.zeros(1)}
    assert renamed(made("SPAN", SPAN), state) is state


def test_lq_stays_as_it_is():
    lq = torch.rand(1, 3, 8, 8)
    before = lq.clone()
    made("RCAN", {"n_resgroups": 1, "n_resblocks": 1, "n_feats": 8, "reduction": 4})(lq)
    assert torch.equal(lq, before)


def test_recognises_a_network_by_its_weights():
    found = recognise(made("SPAN", SPAN).state_dict())
    assert (found.architecture.name, found.scale) == ("SPAN", 2)
