"""`srcx new` on images made here; the machine is made up, except where a run is trained."""

import os
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from skimage.data import astronaut

from srcx.cli import main
from srcx.config import Options
from srcx.data import NonAlignedPairDataset
from srcx.data.stored import list_stored
from srcx.errors import CheckpointError, DataError, ImageError, OutputError, UsageError
from srcx.imaging import imresize, read_image, write_image
from srcx.training import new, own_images
from srcx.training.dry_run import Step
from srcx.training.new import write_new
from srcx.training.options import load_training
from srcx.training.recipes import OPTIONS, OPTIONS_SCHEMA, RECIPES

SMALL_MODEL = "network_g={type: MSRResNet, num_feat: 4, num_block: 1, upscale: 4}"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def photos(rng):
    """Makes images of given sizes in photos/."""

    def make(*sizes, folder="photos"):
        Path(folder).mkdir(exist_ok=True)
        for number, (height, width) in enumerate(sizes):
            noise = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
            image = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
            write_image(Path(folder) / f"{number}.png", image)
        return Path(folder)

    return make


@pytest.fixture
def machine(monkeypatch):
    """Sets the seconds and MiB that two crops take, the free memory, and what bf16 is."""

    def of(*, two_crops_s=0.4, two_crops_mib=200.0, free_mib=8000, precision="fp32"):
        model = SimpleNamespace(accelerator=SimpleNamespace(device=torch.device("cpu")), precision=precision)
        step = Step(model, two_crops_s, "", two_crops_mib)
        monkeypatch.setattr(new, "measure_step", lambda options: step)
        monkeypatch.setattr(new, "free_bytes", lambda device=None: free_mib * 2**20)

    of()
    return of


def made(name="first", data="photos", **wishes) -> tuple[Options, dict[str, new.Choice]]:
    choices: list[new.Choice] = []
    write_new(name, Path(data), **{"recipe": "finetune", **wishes}, on_choice=choices.append)
    return load_training(Path(f"{name}.yml")), {choice.about: choice for choice in choices}


def test_twenty_images_and_two_commands_make_a_model_better_than_bicubic(capsys):
    Path("photos").mkdir()
    for number in range(20):
        top, left = 80 * (number // 5), 96 * (number % 5)
        write_image(Path(f"photos/{number}.png"), astronaut()[top : top + 80, left : left + 96])
    assert main(["new", "first", "--data", "photos", "--minutes", "0.1"]) == 0
    said = capsys.readouterr().out
    assert "images      20 of 96 x 80 pixels: 2 held out to validate on, in first_val" in said
    assert "next:       srcx train -opt first.yml" in said
    assert main(["train", "-opt", "first.yml", "--force_yml", "train:total_iter=1"]) == 0
    figures = {
        line.split(",")[2]: float(line.split(",")[3])
        for line in Path("experiments/first/metrics.csv").read_text().splitlines()
        if line.startswith("0,")
    }
    assert figures["psnr"] > figures["psnr_bicubic"]
    assert Path("experiments/first/models/net_g_latest.pth").is_file()


ALL = [(name, scale) for name, recipe in RECIPES.items() for scale in recipe.scales]


@pytest.mark.parametrize(("name", "scale"), ALL, ids=str)
def test_every_recipe_loads_at_every_scale(photos, machine, name, scale):
    photos(*[(256, 320)] * 4)
    lq = None
    if RECIPES[name].takes_pairs:
        lq = photos(*[(256 // scale, 320 // scale)] * 4, folder="lq")
    options, _ = made(recipe=name, scale=scale, lq=lq)
    assert options.scale == scale == options.network_g.args["upscale"]
    assert options.train.total_iter <= load_training(RECIPES[name].file(scale)).train.total_iter
    assert options.datasets.train.degradation == options.datasets.val["val"].degradation
    assert options.path.pretrain_network_g == RECIPES[name].start.get(scale)
    assert options.path.strict_load_g
    periods = options.train.scheduler.args.get("periods", [options.train.total_iter])
    assert list(periods) == [options.train.total_iter]
    assert max(options.train.scheduler.args.get("milestones", [1])) <= options.train.total_iter
    assert options.val.val_freq <= options.train.total_iter
    if "grid" in options.train.losses:
        assert options.train.losses["grid"].args["period"] == scale


def test_the_file_says_what_it_is_for_and_keeps_the_recipes_comments(photos, machine):
    photos(*[(256, 320)] * 4)
    write_new("first", Path("photos"), recipe="real", command="srcx new first --data photos --recipe real")
    text = Path("first.yml").read_text()
    assert text.startswith(f"# yaml-language-server: $schema={OPTIONS_SCHEMA.as_uri()}\n")
    assert OPTIONS_SCHEMA.is_file()
    assert "# Made by `srcx new first --data photos --recipe real`, after options/shipped/real_x4.yml" in text
    assert "# Train:    srcx train -opt first.yml\n" in text
    assert "      clean_prob: 0.15  # clean images stay sharp\n" in text
    assert "Stage 6" not in text  # of what srcx ships
    assert "made by" not in text
    assert "datasets/" not in text


def test_the_commands_in_the_file_can_be_copied_whatever_the_name(photos, machine):
    photos(*[(256, 320)] * 4)
    write_new("it's #1", Path("photos"), recipe="finetune")
    commands = re.findall(r"^# (?:Train|Upscale): +(.*)", Path("it's #1.yml").read_text(), re.MULTILINE)
    words = [shlex.split(command) for command in commands]
    assert words[0] == ["srcx", "train", "-opt", "it's #1.yml"]
    assert words[1][-2:] == ["--model", "experiments/it's #1"]


def test_images_held_out_are_not_trained_on_and_their_middle_is_validated(photos, machine):
    photos(*[(500, 620)] * 20)
    Path("photos/more").mkdir()
    write_image("photos/more/3.png", read_image("photos/3.png"))  # of the same name
    options, choices = made()
    assert choices["images"].why == "2 held out to validate on, in first_val"
    trained = Path("first_train.txt").read_text().splitlines()
    held_out = sorted(Path("first_val").iterdir())
    assert len(trained) == 19
    assert "more/3.png" in trained
    names = {path.name for path in held_out}
    assert not names & {name for name in trained if "/" not in name}
    whole = read_image(Path("photos") / held_out[0].name)
    assert (read_image(held_out[0]) == whole[56:440, 116:500]).all()
    assert options.datasets.train.meta_info_file == "first_train.txt"


@pytest.mark.parametrize("data", [".", "photos"])
def test_images_that_earlier_commands_wrote_are_not_trained_on_and_named(photos, machine, monkeypatch, data):
    """The held-out pieces of a run, and images of its validations, where all is in one folder."""
    photos(*[(200, 300)] * 20)
    if data == "photos":
        monkeypatch.chdir("photos")
    _, choices = made(data=".")
    assert "left out" not in choices
    for folder in ("experiments/first/visualization/held_out", "my_val", "visualization"):
        Path(folder).mkdir(parents=True)
        write_image(f"{folder}/7.png", read_image(next(Path("first_val").iterdir())))
    Path("experiments/first/metrics.csv").touch()
    _, choices = made("second", data=".")
    assert choices["images"].chosen.startswith("22 of ")  # my_val and visualization are the user's own
    assert choices["left out"].chosen == (
        f"1 image in {Path('experiments/first/visualization')}, 2 images in first_val"
    )
    trained = Path("second_train.txt").read_text().splitlines()
    assert not [name for name in trained if name.startswith(("first_val", "experiments"))]
    with pytest.raises(DataError, match="all images below are from earlier commands of srcx: 1 image in exp"):
        made("third", data="experiments")
    made("third", data="first_val")  # named itself


def test_two_held_out_images_of_one_name_are_both_kept(photos, machine):
    photos(*[(100, 100)] * 1)
    for folder in "bc":
        photos(*[(100, 100)] * 1, folder=f"photos/{folder}")
    for number in range(15):
        photos(*[(100, 100)] * 1, folder=f"photos/d{number}")
    made()
    assert sorted(path.name for path in Path("first_val").iterdir()) == ["0.png", "0_.png"]


def test_the_list_of_images_is_read_back_whatever_their_names(photos, machine):
    photos(*[(100, 100)] * 2)
    for name in (" lead.png", "photo (100,200).png", "a  b (1,2,3) 1.png", "#.png", "ü.png"):
        write_image(Path("photos") / name, read_image("photos/0.png"))
    options, _ = made()
    listed = list_stored("photos", meta_info_file=options.datasets.train.meta_info_file)
    assert len(listed) == 6
    assert all(one.size() == (100, 100) for one in listed)


@pytest.mark.parametrize("name", ["a\nb.png", "a\rb.png", os.fsdecode(b"a\xff.png")])
def test_a_name_that_a_list_cannot_hold_is_refused_before_anything_is_written(photos, machine, name):
    photos(*[(100, 100)] * 20)
    Path("photos/4.png").rename(Path("photos") / name)
    with pytest.raises(DataError, match=f"photos: the name {re.escape(repr(name))} holds a line break"):
        made()
    assert [path.name for path in Path().iterdir()] == ["photos"]


@pytest.mark.parametrize(
    ("sizes", "crop", "why"),
    [
        ([(200, 300)] * 10, 96, "the recipe's; every image holds it"),
        ([(200, 300)] * 19 + [(60, 90)], 96, "the recipe's; 1 smaller images are left out"),
        ([(70, 300)] * 10, 64, "the recipe's is 96, and many images are smaller"),
        ([(20, 30)] * 4 + [(64, 64)] * 4, 48, "the recipe's is 96, and many images are smaller; 4 smaller"),
    ],
)
def test_crops_are_as_small_as_the_images_need(photos, machine, sizes, crop, why):
    photos(*sizes)
    options, choices = made()
    assert options.datasets.train.gt_size == crop
    assert choices["crop"].why.startswith(why)
    assert f"gt_size: {crop}  # {choices['crop'].why}" in Path("first.yml").read_text()


@pytest.mark.parametrize(
    ("given", "batch", "iterations", "why"),
    [
        ({}, 8, 310, "the recipe's; a step takes about 800 MiB, and 7.8 GiB are free"),
        ({"free_mib": 1000}, 5, 510, "the recipe's 8 would take more than half of the free memory"),
        ({"two_crops_s": 1.0}, 4, 250, "with the recipe's 8 there would be too few iterations"),
        ({"two_crops_s": 60.0}, 4, 20, "with the recipe's 8 there would be too few iterations"),
        ({"two_crops_s": 0.001}, 8, 4000, "the recipe's"),
    ],
)
def test_batch_and_iterations_are_those_that_memory_and_time_hold(
    photos, machine, given, batch, iterations, why
):
    """Of 10 minutes 510 seconds are for iterations."""
    photos(*[(200, 300)] * 4)
    machine(**given)
    options, choices = made()
    assert options.datasets.train.batch_size_per_gpu == batch
    assert options.train.total_iter == iterations
    assert choices["batch"].why.startswith(why)
    assert ("; few: 300 take --minutes 706" in choices["iterations"].why) == (iterations < 100)
    assert options.train.ema_decay <= max(1 - 10 / iterations, 0.5)


@pytest.mark.parametrize(("precision", "shown"), [("fp32", "auto, here fp32"), ("bf16", "auto, here bf16")])
def test_the_number_format_is_that_of_the_processor(photos, machine, precision, shown):
    photos(*[(200, 300)] * 4)
    machine(precision=precision)
    options, choices = made()
    assert (options.train.precision, choices["precision"].chosen) == ("auto", shown)


def test_many_large_images_get_a_cache_that_the_memory_holds(photos, machine, monkeypatch):
    photos(*[(200, 300)] * 4)
    monkeypatch.setattr(new.OwnImages, "decoded_mib", lambda images, scale: 1500)
    assert made("large")[0].datasets.train.cache_mib == 1501
    machine(free_mib=5000)
    options, choices = made("small")
    assert options.datasets.train.cache_mib == 1250
    assert "srcx data prepare sub-images" in choices["cache"].why


def test_pairs_give_their_scale_and_are_held_out_together(photos, machine):
    photos(*[(400, 480)] * 12)
    Path("lq").mkdir()
    for path in Path("photos").iterdir():
        write_image(Path("lq") / path.name, imresize(read_image(path), scale=1 / 2))
    options, _ = made(recipe="nonaligned", lq=Path("lq"))
    assert options.scale == 2
    (gt,), (lq,) = (list(Path("first_val", side).iterdir()) for side in ("gt", "lq"))
    assert gt.name == lq.name
    inner = (slice(8, -8), slice(8, -8))  # the borders of a piece are not those of the whole
    assert np.abs(imresize(read_image(gt), scale=1 / 2)[inner].astype(int) - read_image(lq)[inner]).max() <= 1
    train = options.datasets.train
    dataset = NonAlignedPairDataset(
        dataroot_gt=train.dataroot_gt, dataroot_lq=train.dataroot_lq, meta_info_file=train.meta_info_file,
        scale=2, gt_size=96,
    )  # fmt: skip
    assert sorted(dataset.name(number) for number in range(len(dataset))) == sorted(
        path.stem for path in Path("photos").iterdir() if path.name != gt.name
    )


def test_a_run_of_ones_own_can_be_trained_on(photos, machine):
    photos(*[(200, 300)] * 4)
    write_new("first", Path("photos"), recipe="srresnet")
    train = ["train:total_iter=1", "datasets:train:batch_size_per_gpu=1", SMALL_MODEL]
    assert main(["train", "-opt", "first.yml", "--force_yml", *train]) == 0
    options, choices = made("second", start="experiments/first")
    assert options.path.pretrain_network_g == "experiments/first/models/net_g_latest.pth"
    assert options.path.param_key_g is None
    assert options.network_g.args["num_feat"] == 4
    assert choices["start"].why == "its network (MSRResNet) is trained further"
    train = ["train:total_iter=1", "datasets:train:batch_size_per_gpu=1"]
    assert main(["train", "-opt", "second.yml", "--force_yml", *train]) == 0


@pytest.mark.parametrize("name", ["None", "null", "1e-4", "yes"])
def test_names_that_look_like_values_stay_text(photos, machine, name):
    photos(*[(200, 300)] * 4, folder=name)
    options, _ = made(name=name, data=name)
    assert options.name == options.datasets.train.dataroot_gt == name


@pytest.mark.parametrize("there", ["first.yml", "first_train.txt", "first_val"])
def test_nothing_is_overwritten(photos, machine, there):
    photos(*[(200, 300)] * 4)
    Path(there).write_text("mine")
    with pytest.raises(UsageError, match=f"{there}: is there already and is not overwritten"):
        made()
    assert sorted(path.name for path in Path().iterdir()) == sorted([there, "photos"])
    assert Path(there).read_text() == "mine"


WRONG = {
    "recipe": ({"recipe": "srgan"}, UsageError, "unknown recipe 'srgan'; did you mean 'srgan-cx'"),
    "strange recipe": ({"recipe": "x"}, UsageError, "unknown recipe 'x'; known are finetune, "),
    "pairs": ({"recipe": "nonaligned"}, UsageError, "nonaligned needs pairs: name the folder of lq, --lq"),
    "no pairs": ({"lq": Path("photos")}, UsageError, "finetune makes lq itself: leave out --lq"),
    "scale": ({"scale": 3}, UsageError, "finetune is for scale 2 or 4; got 3"),
    "model": ({"start": "srresnet-x5"}, UsageError, "did you mean 'srresnet-x4'"),
    "no network": ({"start": "bicubic"}, UsageError, "bicubic: srcx cannot train this on"),
    "other scale": ({"start": "real-x2", "scale": 4}, UsageError, "real-x2 is of scale 2, and the run"),
    "no file": ({"start": "gone.pth"}, CheckpointError, "gone.pth: there is no such file"),
    "no folder": ({"data": "nowhere"}, DataError, "nowhere: this folder does not exist"),
    "no images": ({"data": "empty"}, DataError, "empty: there are no images in this folder or below"),
    "small images": ({"data": "small"}, DataError, "small: none of 2 images holds a crop of 48 pixels"),
    "one image": ({"data": "one"}, DataError, "one: 1 of 1 images holds a crop of 96 pixels, and 2"),
    "damaged": ({"data": "damaged"}, DataError, "damaged/a.png"),
    "folder": ({"name": "a/b"}, UsageError, "'a/b': expected a name for the run"),
    "parent": ({"name": ".."}, UsageError, "'..': expected a name for the run"),
    "blank": ({"name": " "}, UsageError, "' ': expected a name for the run"),
    "control": ({"name": "a\tb"}, UsageError, r"'a\\tb': expected a name for the run"),
    "backslash": ({"name": "a\\b"}, UsageError, "expected a name for the run"),
    "long name": ({"name": "a" * 300}, OutputError, "choose a shorter name"),
}  # fmt: skip


@pytest.mark.parametrize(("wishes", "error", "said"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_done_is_one_sentence_and_leaves_nothing(photos, machine, wishes, error, said):
    photos(*[(200, 300)] * 4)
    photos((40, 60), (30, 90), folder="small")
    photos((200, 300), folder="one")
    Path("empty").mkdir()
    Path("damaged").mkdir()
    Path("damaged/a.png").write_bytes(b"no image")
    before = sorted(Path().rglob("*"))
    with pytest.raises(error, match=said):
        made(**wishes)
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize("error", [ImageError("2.png: is damaged"), KeyboardInterrupt(), OSError(28, "full")])
@pytest.mark.parametrize("written", [1, 2])
def test_what_stops_between_the_files_leaves_nothing_and_the_next_try_works(
    photos, machine, monkeypatch, error, written
):
    photos(*[(200, 300)] * 20)
    places = iter(range(written))

    def stop(path, image):
        if next(places, None) is None:
            raise error
        write_image(path, image)

    with monkeypatch.context() as patch:
        patch.setattr(own_images, "write_image", stop)
        if written == 2:  # behind the images: the option file
            patch.setattr(new._Draft, "text", lambda *_: stop(None, None))
        with pytest.raises((ImageError, KeyboardInterrupt, OutputError)):
            made()
        assert [path.name for path in Path().iterdir()] == ["photos"]
    made()
    assert {path.name for path in Path().iterdir()} == {"photos", "first.yml", "first_train.txt", "first_val"}


def test_the_command_asks_for_what_it_needs_and_lists_recipes(capsys):
    assert main(["new", "first"]) == 2
    assert "name the run and the folder of your images" in capsys.readouterr().err
    assert main(["new", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(RECIPES)


def test_the_recipes_are_files_of_options():
    for recipe in RECIPES.values():
        for scale in recipe.scales:
            assert recipe.file(scale).is_relative_to(OPTIONS)
            assert recipe.file(scale).is_file()


def test_one_core_is_no_cores(monkeypatch):
    monkeypatch.setattr(new, "cores", lambda: 1)
    assert new._cores() == "1 core"
    monkeypatch.setattr(new, "cores", lambda: 2)
    assert new._cores() == "2 cores"
