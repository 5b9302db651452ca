from collections.abc import Callable

import pytest

from srcx.config import Options

Complaints = Callable[..., list[str]]
Load = Callable[..., Options]

MULTI_STEP = "{type: MultiStepLR, milestones: [50]}"
ADVERSARY = {
    "SRModel": "SRGANModel",
    "  optim_g": "  optim_d: {type: Adam, lr: 1}\n  optim_g",
    "  pixel_opt": "  gan_opt: {type: GANLoss}\n  pixel_opt",
    "network_g": "network_d: {type: D}\nnetwork_g",
}


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        *(
            (
                "val:\n",
                f"val:\n  suffix: {value}\n",
                "x.yml:19: val.suffix: expected the end of a file's name, without '/', got",
            )
            for value in ("/../x", "a/b", "'a\\\\b'", '"a\\nb"', '"a\\0"')
        ),
        *(
            (
                "name: D\n",
                f"name: {value}\n",
                "x.yml:6: datasets.train.name: expected a name that can be a folder's name, without '/', got",
            )
            for value in ("../x", "/x", "..", ".", "a/b", "'a\\\\b'", '"a\\nb"', '"a\\e[2J"', "' '")
        ),
        *(
            (
                "name: D\n",
                f"name: '{value}'\n",
                "x.yml:6: datasets.train.name: expected a name that no spreadsheet takes for a formula",
            )
            for value in ("=1", "+1", "-1", "@x")
        ),
        (
            "network_g",
            "  val: {name: train, type: PairedImageDataset, dataroot_gt: gt, dataroot_lq: lq}\nnetwork_g",
            "x.yml:11: datasets.val.name: 'train' names the losses' rows in metrics.csv; choose another",
        ),
        ("32", "34", "x.yml:10: datasets.train.gt_size: 34 is no multiple of the scale 4; write 32"),
        ("32", "2", "x.yml:10: datasets.train.gt_size: 2 is no multiple of the scale 4; write 4"),
        *(
            ("gt_size: 32", f"gt_size: 32\n    {options}", f"x.yml:11: datasets.train.{complaint}")
            for options, complaint in (
                (
                    "iters: [9, 9]\n    gt_sizes: [16, 24, 32]",
                    "iters: expected a number of iterations for each of gt_sizes; got 2 for 3",
                ),
                ("iters: [9]", "iters: expected a number of iterations for each of gt_sizes; got 1 for 0"),
                (
                    "gt_sizes: [16, 24]\n    iters: [9, 9]",
                    "gt_sizes: the largest is 24, and gt_size is 32; give both the same",
                ),
                ("gt_sizes: [18, 32]\n    iters: [9, 9]", "gt_sizes: 18 is no multiple of the scale 4"),
                ("gt_sizes: [0, 32]\n    iters: [9, 9]", "gt_sizes[0]: expected a number from 1 on"),
                ("gt_scales: [1, 0.5]", "gt_scales: PairedImageDataset"),
            )
        ),
        *(
            (
                "PairedImageDataset\n    dataroot_gt: gt\n    dataroot_lq: lq",
                f"HighResolutionDataset\n    dataroot_gt: gt\n    gt_scales: {value}",
                f"x.yml:9: datasets.train.gt_scales{complaint}",
            )
            for value, complaint in (
                ("[]", ": expected different factors, such as [1, 0.5]; got []"),
                ("[1, 1.0]", ": expected different factors, such as [1, 0.5]; got [1.0, 1.0]"),
                ("[1, 2]", "[1]: expected"),
                ("[0]", "[0]: expected"),
                ("0.5", ": expected a list, got 0.5"),
            )
        ),
        (
            MULTI_STEP,
            "{type: MultiStepLR, milestones: [50, 40]}",
            "x.yml:16: train.scheduler.milestones: milestones must rise; got [50, 40]",
        ),
        ("[50]", "[50, 50]", "x.yml:16: train.scheduler.milestones: milestones must rise; got [50, 50]"),
        (
            MULTI_STEP,
            "{type: MultiStepLR, milestones: [50], restarts: [0, 50], restart_weights: [1]}",
            "x.yml:16: train.scheduler.restart_weights: 1 weights for 2 restarts; give one for each",
        ),
        (
            MULTI_STEP,
            "{type: CosineAnnealingRestartLR, periods: [60, 60], restart_weights: [1]}",
            "x.yml:16: train.scheduler.restart_weights: 1 weights for 2 periods; give one for each",
        ),
        (
            MULTI_STEP,
            "{type: CosineAnnealingRestartLR, periods: [60], restart_weights: [1]}",
            "x.yml:16: train.scheduler.periods: the periods end at iteration 60, before total_iter 100",
        ),
        (
            "lr: 1e-4",
            "lr: 1, betas: [0.9]",
            "x.yml:15: train.optim_g.betas: expected two numbers, got [0.9]",
        ),
        ("  pixel_opt: {type: L1Loss}\n", "", "x.yml:12: train: no loss term; give at least one"),
        (
            "pixel_opt",
            "gan_opt: {type: GANLoss}\n  pixel_opt",
            "x.yml:17: train.gan_opt: SRModel has no discriminator; remove this",
        ),
        (
            "pixel_opt",
            "adv_opt: {type: GANLoss}\n  pixel_opt",
            "x.yml:17: train.adv_opt: gan_opt, and no other term, is GANLoss or",
        ),
        ("pixel_opt", "lr_opt", "x.yml:17: train.lr_opt: the log has a figure called lr; take another name"),
        (
            "  ema_decay",
            "  net_d_iters: 2\n  ema_decay",
            "x.yml:14: train.net_d_iters: SRModel has no such option, SRGANModel and ESRGANModel have it; ",
        ),
        (
            "  ema_decay",
            "  net_d_init_iters: 2\n  ema_decay",
            "x.yml:14: train.net_d_init_iters: SRModel has no such option, SRGANModel and ESRGANModel have",
        ),
        (
            "train:\n  total",
            "path: {pretrain_network_d: d.pth}\ntrain:\n  total",
            "x.yml:12: path.pretrain_network_d: SRModel has no such option, SRGANModel and ESRGANModel",
        ),
        ("width: 8", "upscale: 2", "x.yml:11: network_g.upscale: 2 beside scale 4; make both the same"),
        ("width: 8", "scale: 2", "x.yml:11: network_g.scale: 2 beside scale 4; make both the same"),
        (
            "PairedImageDataset\n    dataroot_gt: gt",
            "SingleImageDataset",
            "x.yml:7: datasets.train.type: expected one of 'PairedImageDataset', 'HighResolution",
        ),
        (
            "PairedImageDataset\n    dataroot_gt: gt\n    dataroot_lq: lq",
            "HighResolutionDataset\n    dataroot_gt: gt\n    filename_tmpl: '{}x4'",
            "x.yml:9: datasets.train.filename_tmpl: HighResolutionDataset has no such option, PairedImageDat",
        ),
        (
            "PairedImageDataset\n    dataroot_gt: gt\n    dataroot_lq: lq",
            "NonAlignedPairDataset\n    dataroot_gt: gt\n    filename_tmpl: '{}x4'",
            "x.yml:9: datasets.train.filename_tmpl: without dataroot_lq there are no pairs of files to find",
        ),
        (
            "gt_size: 32",
            "gt_size: 32\n  val: {name: v, type: SingleImageDataset, dataroot_lq: v, filename_tmpl: '{}x4'}",
            "x.yml:11: datasets.val.filename_tmpl: SingleImageDataset has no such option, PairedImage",
        ),
        (
            "train:\n  total",
            "path: {ignore_resume_networks: [net_g]}\ntrain:\n  total",
            "x.yml:12: path.ignore_resume_networks[0]: expected one of 'network_g' or 'network_d', got",
        ),
        (
            "train:\n  total",
            "path: {ignore_resume_networks: [network_d]}\ntrain:\n  total",
            "x.yml:12: path.ignore_resume_networks: SRModel has no network_d; remove it",
        ),
        (
            "gt_size: 32",
            "gt_size: 32\n    mean: [0.5, 0.5]",
            "x.yml:11: datasets.train.mean: expected 3 numbers, or 1 for all channels; got [0.5, 0.5]",
        ),
        (
            "gt_size: 32",
            "gt_size: 32\n    std: []",
            "x.yml:11: datasets.train.std: expected 3 numbers, or 1 for all channels; got []",
        ),
        (
            "gt_size: 32",
            "gt_size: 32\n    color: y\n    mean: [0.5, 0.5, 0.5]",
            "x.yml:12: datasets.train.mean: expected 1 number, for luma; got [0.5, 0.5, 0.5]",
        ),
        (
            "dataroot_gt: gt",
            'dataroot_gt: "new\\train"',
            "x.yml:8: datasets.train.dataroot_gt: expected a path without control characters (in double",
        ),
        ("_gt: gt", "_gt: [a]", "x.yml:8: datasets.train.dataroot_gt: expected text, got ['a']"),
        (
            "    dataroot_lq: lq\n",
            "",
            "x.yml:5: datasets.train.dataroot_lq: PairedImageDataset requires this option and it is missing",
        ),
        (
            "PairedImageDataset",
            "HighResolutionDataset",
            "x.yml:9: datasets.train.dataroot_lq: HighResolutionDataset has no such option, Paired",
        ),
        (
            "gt_size: 32",
            "gt_size: 32\n  val: {name: v, type: SingleImageDataset, dataroot_lq: v, dataroot_gt: v}",
            "x.yml:11: datasets.val.dataroot_gt: SingleImageDataset has no such option, PairedImageDataset "
            "and HighResolutionDataset have it; did you mean 'dataroot_lq'?",
        ),
        (
            "32",
            "32\n    io_backend: {type: lmdb}",
            "x.yml:8: datasets.train.dataroot_gt: with io_backend lmdb the folder's name ends in .lmdb; got",
        ),
        (
            "32",
            "32\n    max_offset: 4",
            "x.yml:11: datasets.train.max_offset: PairedImageDataset has no such option, Non",
        ),
        (
            "PairedImageDataset",
            "HighResolutionDataset\n    targets: several",
            "x.yml:8: datasets.train.targets: High",
        ),
    ],
)
def test_names_what_does_not_fit_together(complaints: Complaints, old: str, new: str, complaint: str) -> None:
    lines = complaints({old: new})
    assert any(line.startswith(complaint) for line in lines), lines


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ("dataroot_lq: lq\n    targets: unpaired", None),
        ("max_offset: 4", None),
        (
            "targets: several",
            "datasets.train.dataroot_lq: several targets for each lq image need the folder",
        ),
        (
            "targets: unpaired\n    max_offset: 1",
            "datasets.train.max_offset: unpaired targets are cut at any place anyway; remove this",
        ),
        (
            "meta_info_file: a.txt",
            "datasets.train.meta_info_file: names pairs of files, and only targets: paired",
        ),
        (
            "io_backend: {type: lmdb}",
            "datasets.train.io_backend: NonAlignedPairDataset reads all image files",
        ),
    ],
)
def test_pairs_that_are_not_aligned_have_options_of_their_own(
    load: Load, complaints: Complaints, lines: str, complaint: str | None
) -> None:
    changes = {"    dataroot_lq: lq\n": f"    {lines}\n", "PairedImageDataset": "NonAlignedPairDataset"}
    if complaint is None:
        load(changes)
    else:
        assert any(complaint in line for line in complaints(changes))


def test_nothing_is_evaluated_on_pairs_that_are_not_aligned(complaints: Complaints) -> None:
    val = "  val: {name: V, type: NonAlignedPairDataset, dataroot_gt: a}\nnetwork_g"
    (line,) = complaints({"network_g": val})
    assert line.startswith(
        "x.yml:11: datasets.val.type: expected one of 'PairedImageDataset', 'SingleImageDataset' or 'High"
    )


def test_a_gan_with_all_its_pieces_loads(load: Load) -> None:
    options = load(ADVERSARY)
    assert options.train is not None
    assert list(options.train.losses) == ["gan", "pixel"]


@pytest.mark.parametrize("model", ["SRGANModel", "ESRGANModel"])
def test_a_gan_needs_a_discriminator_its_optimizer_and_its_loss(complaints: Complaints, model: str) -> None:
    assert complaints({"SRModel": model}) == [
        f"x.yml:1: network_d: {model} requires this option and it is missing",
        f"x.yml:12: train.optim_d: {model} requires this option and it is missing",
        f"x.yml:12: train.gan_opt: {model} requires this option and it is missing",
    ]


SAME_SIZE = {"scale: 4": "scale: 1"}


def test_a_term_may_compare_with_lq_where_it_is_as_large(load: Load, complaints: Complaints) -> None:
    source = {"{type: L1Loss}": "{type: L1Loss, against: lq}"}
    options = load(source | SAME_SIZE)
    assert options.train is not None
    assert options.train.losses["pixel"].against == "lq"
    assert options.train.losses["pixel"].args == {}
    assert complaints(source) == [
        "x.yml:17: train.pixel_opt.against: lq is as large as the output where the scale is 1; it is 4"
    ]


def test_a_discriminator_compares_with_gt_alone(load: Load, complaints: Complaints) -> None:
    def gan(term: str) -> dict[str, str]:
        return ADVERSARY | SAME_SIZE | {"  pixel_opt": f"  gan_opt: {term}\n  pixel_opt"}

    (line,) = complaints(gan("{type: GANLoss, against: lq}"))
    assert "train.gan_opt.against: a discriminator compares the output with gt or gt_sharp" in line
    load(gan("{type: GANLoss, against: gt_sharp}"))
    load(gan("{type: MultiScaleGANLoss}"))
    (line,) = complaints(gan("{type: L1Loss}"))
    assert "train.gan_opt: gan_opt, and no other term, is GANLoss or MultiScaleGANLoss" in line
    (line,) = complaints(gan("{type: MultiScaleGANLoss}") | {"SRModel": "ESRGANModel"})
    assert "train.gan_opt.type: ESRGANModel takes GANLoss, SRGANModel takes this" in line


def test_a_term_may_compare_with_sharpened_gt_at_any_scale(load: Load) -> None:
    options = load({"{type: L1Loss}": "{type: L1Loss, against: gt_sharp}"})
    assert options.train is not None
    assert options.train.needs_gt_sharp


def test_the_loss_on_artifacts_needs_an_ema_network(load: Load, complaints: Complaints) -> None:
    load({"{type: L1Loss}": "{type: LDLLoss}"})
    assert complaints({"{type: L1Loss}": "{type: LDLLoss}", "ema_decay: 0.9": "ema_decay: 0"}) == [
        "x.yml:17: train.pixel_opt: LDLLoss needs the output of the EMA network; "
        "set train.ema_decay, such as 0.999"
    ]


def test_a_list_of_pairs_is_for_paired_folders(load: Load, complaints: Complaints) -> None:
    load({"gt_size: 32": "gt_size: 32\n    meta_info: x.txt"})
    (line,) = complaints(
        {
            "PairedImageDataset": "HighResolutionDataset",
            "    dataroot_lq: lq\n": "",
            "gt_size: 32": "gt_size: 32\n    meta_info: x.txt",
        }
    )
    assert "HighResolutionDataset has no such option, PairedImageDataset has it" in line
    assert line.endswith("; did you mean 'meta_info_file'?")
    shards = "gt_size: 32\n    meta_info: x.txt\n    io_backend: {type: webdataset}"
    (line,) = complaints({"gt_size: 32": shards})
    assert "meta_info: with io_backend webdataset pairs have one name; remove this" in line


def test_shards_alone_are_remote(load: Load, complaints: Complaints) -> None:
    shards = "gt_size: 32\n    io_backend: {type: webdataset, remote: true}"
    assert load({"gt_size: 32": shards}).datasets.train.io_backend.remote
    (line,) = complaints({"gt_size: 32": "gt_size: 32\n    io_backend: {remote: true}"})
    assert "io_backend.remote: only shards are read from addresses; set type: webdataset" in line


CYCLE = ADVERSARY | SAME_SIZE | {"SRModel": "CycleGANModel"}


STABILISERS = (
    "adaptive_d: 0.5",
    "r1_reg_weight: 10",
    "net_d_reg_every: 8",
    "ema_decay_d: 0.9",
    "warn_iter: 9",
)


@pytest.mark.parametrize("given", STABILISERS)
@pytest.mark.parametrize("model", ["SRModel", "CycleGANModel"])
def test_stabilisers_of_one_discriminator_are_refused_where_there_is_none_or_two(
    complaints: Complaints, model: str, given: str
) -> None:
    changes = CYCLE if model == "CycleGANModel" else {}
    changes = changes | {"  ema_decay": f"  {given}\n  ema_decay"}
    said = f"train.{given.split(':')[0]}: {model} has no such option, SRGANModel and ESRGANModel have it"
    assert any(said in line for line in complaints(changes))


def test_a_loss_without_chance_has_no_lead_that_could_pause_the_discriminator(
    complaints: Complaints, load: Load
) -> None:
    paused = ADVERSARY | {"  ema_decay": "  adaptive_d: 0.5\n  ema_decay"}
    assert load(paused).train.adaptive_d == 0.5
    wgan = paused | {"  pixel_opt": "  gan_opt: {type: GANLoss, gan_type: wgan}\n  pixel_opt"}
    assert any("train.gan_opt.gan_type: wgan has no loss at chance" in line for line in complaints(wgan))
    word = ADVERSARY | {"  ema_decay": "  adaptive_d: true\n  ema_decay"}
    assert any("adaptive_d: expected a number, got true" in line for line in complaints(word))


def test_two_generators_load(load: Load) -> None:
    assert load(CYCLE).model_type == "CycleGANModel"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"scale: 4": "scale: 2"}, "scale: CycleGANModel has a generator back, which needs scale 1"),
        (
            {"{type: L1Loss}": "{type: L1Loss, against: lq}"},
            "train.pixel_opt.against: CycleGANModel compares each image with the one generated back from it",
        ),
        (
            {"{type: L1Loss}": "{type: L1Loss, against: gt_sharp}"},
            "train.pixel_opt.against: CycleGANModel compares each image with the one generated back from it",
        ),
        (
            {"{type: L1Loss}": "{type: LDLLoss}"},
            "train.pixel_opt: LDLLoss needs gt of the same scene, and CycleGANModel has none; remove this",
        ),
        (
            {"  optim_g": "  optim_d: {type: Adam, lr: 1}\n  net_d_iters: 2\n  optim_g"},
            "train.net_d_iters: CycleGANModel has no such option, SRGANModel and ESRGANModel have it; ",
        ),
        *(
            (
                {"train:\n  total": f"path: {{{given}}}\ntrain:\n  total"},
                f"path.{given.split(':')[0]}: CycleGANModel has {why}",
            )
            for given, why in (
                ("pretrain_network_g: g.pth", "no such option, SRModel, SwinIRModel, SRGANModel and ESRGANM"),
                ("pretrain_network_d: d.pth", "no such option, SRGANModel and ESRGANModel have it"),
                ("ignore_resume_networks: [network_g]", "two generators and two discriminators"),
            )
        ),
        (
            {"  optim_g": "  optim_d: {type: Adam, lr: 1}\n  freeze_g: [conv_first]\n  optim_g"},
            "train.freeze_g: CycleGANModel has two generators and two discriminators, and this names one",
        ),
        (
            {"  pixel_opt": "  gan_opt: {type: GANLoss}\n  pixel_back_opt"},
            "train.pixel_back_opt: the log of CycleGANModel has figures of this name",
        ),
        ({"network_g": "network_g"}, "network_d: CycleGANModel requires this option and it is missing"),
    ],
)
def test_what_two_generators_cannot_do_is_refused(
    complaints: Complaints, changes: dict[str, str], complaint: str
) -> None:
    assert any(complaint in line for line in complaints(CYCLE | changes))


def test_sets_of_one_phase_and_file_need_names_of_their_own(complaints: Complaints) -> None:
    one = "{name: Set5, type: SingleImageDataset, dataroot_lq: a}"
    lines = complaints({"network_g": f"  val: {one}\n  val_2: {one}\nnetwork_g"})
    assert lines == [
        "x.yml:11: datasets.val.name: 2 sets are called 'Set5'",
        "x.yml:12: datasets.val_2.name: 2 sets are called 'Set5'",
    ]


def test_a_file_needs_both_sides_of_training_or_a_test_set(load: Load, complaints: Complaints) -> None:
    train = "train:\n  total_iter: 100\n  ema_decay: 0.9\n  optim_g: {type: Adam, lr: 1e-4}\n"
    train += f"  scheduler: {MULTI_STEP}\n  pixel_opt: {{type: L1Loss}}\n"
    data = "  train:\n    name: D\n    type: PairedImageDataset\n"
    data += "    dataroot_gt: gt\n    dataroot_lq: lq\n    gt_size: 32\n"
    test_set = "  test: {name: T, type: SingleImageDataset, dataroot_lq: a}\n"
    assert complaints({train: ""}) == [
        "x.yml:1: train: this section is needed because the file has datasets.train"
    ]
    assert complaints({data: test_set}) == [
        "x.yml:4: datasets.train: this section is needed because the file has 'train'"
    ]
    assert complaints({train: "", data: "  {}\n"}) == [
        "x.yml:4: datasets: a training file needs 'train' and datasets.train, a test file datasets.test_1"
    ]
    assert load({train: "", data: test_set}).train is None


def test_what_does_not_fit_is_said_beside_what_is_wrong(complaints: Complaints) -> None:
    lines = complaints({"32": "34", "0.9": "7"})
    assert [line.split(":")[1] for line in lines] == ["10", "14"]
    lines = complaints({"32": "34", "lr: 1e-4": "lr: 1e-4, betas: [0.9, b]"})
    assert [line.split(":")[1] for line in lines] == ["10", "15"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"    dataroot_lq: lq\n": ""}, ["5: datasets.train.dataroot_lq", "9: datasets.train.gt_size"]),
        (
            {"PairedImageDataset": "PairdImageDataset"},
            ["7: datasets.train.type", "10: datasets.train.gt_size"],
        ),
        ({"SRModel": "SRModle"}, ["2: model_type", "10: datasets.train.gt_size"]),
        ({"total_iter: 100": "total_iter: x"}, ["10: datasets.train.gt_size", "13: train.total_iter"]),
        ({"[50]": "[b]"}, ["10: datasets.train.gt_size", "16: train.scheduler.milestones[0]"]),
        ({"milestones": "millstones"}, ["10: datasets.train.gt_size", "16: train.scheduler.millstones"]),
    ],
)
def test_a_wrong_or_missing_value_hides_no_mistake_between_others(
    complaints: Complaints, changes: dict[str, str], said: list[str]
) -> None:
    lines = [line.removeprefix("x.yml:") for line in complaints({"32": "34"} | changes)]
    assert [line.rsplit(": ", line.count(": ") - 1)[0] for line in lines][: len(said)] == said


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("HighResolutionDataset", {"_lq: lq": "_lq: ~", "32": "32\n    meta_info: ~\n    max_offset: 0"}),
        ("PairedImageDataset", {"32": "32\n    degradation: ~\n    targets: paired"}),
    ],
)
def test_an_option_of_another_kind_may_be_null_or_its_default(
    load: Load, kind: str, changes: dict[str, str]
) -> None:
    load({"PairedImageDataset": kind} | changes)


def test_a_wrong_value_has_no_echo(complaints: Complaints) -> None:
    assert len(complaints({"dataroot_lq: lq": "dataroot_lq: 3"})) == 1
    assert len(complaints({"{type: L1Loss}": "3"})) == 1
    assert len(complaints({"[50]": "[50, b, 40]"})) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"gt_size: 32": "gt_size: 32\n    gt_sizes: [16, b]\n    iters: [10, 90]"},
        {"gt_size: 32": "gt_size: 32\n    gt_sizes: b\n    iters: [10, 90]"},
        {"gt_size: 32": "gt_size: b\n    gt_sizes: [16, 32]\n    iters: [10, 90]"},
        {"total_iter: 100": "total_iter: 100\n  ema_warmup: true", "0.9": "b"},
        {"total_iter: 100": "total_iter: 100\n  teacher_iter: 9", "val:": "path: {teacher: 3}\nval:"},
    ],
)
def test_a_wrong_value_has_no_echo_in_another_option(complaints: Complaints, changes: dict[str, str]) -> None:
    assert len(complaints(changes)) == 1


def test_the_sets_of_a_test_file_may_be_called_val(load, small_text):
    train = small_text[small_text.index("train:\n  total_iter") : small_text.index("val:\n")]
    options = load({train: "", "  train:\n    name": "  val_1:\n    name", "    gt_size: 32\n": ""})
    assert [part.name for part in options.tested.values()] == ["D"]


def test_the_val_sets_of_a_training_file_are_not_to_test(load):
    val = "  val: {name: V, type: PairedImageDataset, dataroot_gt: a, dataroot_lq: b}\n"
    assert load({"    gt_size: 32\n": f"    gt_size: 32\n{val}"}).tested == {}
