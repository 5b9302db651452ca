"""The JSON schema of option files fits srcx: its own files are right by it, and mistakes are not."""

import json
import re

import jsonschema
import pytest

from srcx.cli import main
from srcx.config.yaml_io import read_file, read_value
from srcx.training.recipes import OPTIONS, OPTIONS_SCHEMA
from srcx.training.schema import schema_text

FILES = sorted(OPTIONS.rglob("*.yml"))
SCHEMA = json.loads(OPTIONS_SCHEMA.read_text("utf-8"))
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)


def without_optimizers_of_torch(schema):
    """Their arguments depend on the version of torch."""
    definitions = schema["$defs"].items()
    of_torch = "PyTorch's `torch.optim."
    ours = {name: one for name, one in definitions if not one.get("description", "").startswith(of_torch)}
    return {**schema, "$defs": ours}


def test_the_file_is_what_the_command_prints_now(capsys):
    """If it is not: srcx schema > options/schema.json."""
    assert main(["schema"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert without_optimizers_of_torch(printed) == without_optimizers_of_torch(SCHEMA)


def test_it_is_a_schema():
    jsonschema.Draft7Validator.check_schema(json.loads(schema_text()))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_option_file_is_right_and_names_the_schema_for_editors(file):
    VALIDATOR.validate(read_file(file).data)
    text = file.read_text("utf-8")
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    assert named, "the first line names the schema: # yaml-language-server: $schema=../schema.json"
    assert (file.parent / named[1]).resolve() == OPTIONS_SCHEMA
    assert not re.search(r"\d_\d{3}\b", text), "editors take 20_000 for text; write 20000"


RECIPE = OPTIONS / "shipped/real_x4.yml"
MISTAKES = {
    "key": ("total_itr", 600),
    "key of a section": ("train:total_itr", 600),
    "type": ("train:total_iter", "many"),
    "range": ("train:total_iter", 0),
    "choice": ("train:precision", "bf8"),
    "model": ("model_type", "SRGANModell"),
    "option of another model": ("train:net_d_iters", "two"),
    "data set": ("datasets:train:gt_sise", 96),
    "kind of data set": ("datasets:train:type", "HighResolutionDatset"),
    "option of another data set": ("datasets:train:dataroot_lq", "lq"),
    "validation set": ("datasets:val_2", {"name": "x", "type": "PairedImageDataset", "dataroot_gt": "x"}),
    "phase": ("datasets:valid", {"name": "x", "type": "SingleImageDataset", "dataroot_lq": "x"}),
    "degradation": ("datasets:train:degradation:clean_prop", 0.1),
    "argument of a network": ("network_g:num_blok", 16),
    "value of an argument": ("network_g:upsampling", "bicubic"),
    "argument of a loss": ("train:contextual_opt:bandwith", 0.1),
    "missing argument": ("train:contextual_opt:type", None),
    "argument of a metric": ("val:metrics:psnr:crop", 4),
    "argument of an optimizer": ("train:optim_g:beta", [0.9, 0.99]),
    "schedule": ("train:scheduler:gama", 0.5),
}


@pytest.mark.parametrize(("option", "value"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_found(option, value):
    data = read_file(RECIPE).data
    VALIDATOR.validate(data)
    *sections, key = option.split(":")
    section = data
    for name in sections:
        section = section[name]
    section[key] = value
    assert not VALIDATOR.is_valid(data)


def test_parts_of_basicsr_take_any_argument_and_sections_may_be_left_empty():
    data = read_file(RECIPE).data
    data["network_g"] = read_value("{type: RRDBNet, num_in_ch: 3, num_out_ch: 3, anything: 1}")
    data["train"]["pixel_opt"] = {"type": "WeightedTVLoss", "loss_weight": 1.0}
    data["train"]["lpips_opt"] = data["logger"] = None
    VALIDATOR.validate(data)


def test_options_of_all_optimizers_have_the_default_of_each_or_are_left_out():
    options = {
        kind: next(
            one["properties"]
            for one in json.loads(schema_text())["$defs"].values()
            if one.get("properties", {}).get("type", {}).get("const") == kind
        )
        for kind in ("AdamW", "Muon", "SGD")
    }
    assert options["AdamW"]["weight_decay"]["default"] == 0.01
    assert options["Muon"]["betas"]["default"] == [0.9, 0.99]
    assert "betas" not in options["SGD"]
