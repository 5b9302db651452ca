from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from srcx.config import Options, load_options
from srcx.errors import OptionsError

Load = Callable[..., Options]
Complaints = Callable[..., list[str]]


def test_changes_adds_and_types_values_like_the_file(load: Load) -> None:
    options = load(
        None, "train:ema_decay=0.5", "train:total_iter=5e3", "logger:print_freq=7", "train:warmup_iter = 3"
    )
    assert options.train is not None
    assert (options.train.ema_decay, options.train.total_iter, options.train.warmup_iter) == (0.5, 5000, 3)
    assert options.logger.print_freq == 7


def test_takes_lists_null_and_text_with_signs(load: Load) -> None:
    options = load(
        None,
        "train:optim_g:betas=[0.9, 0.99]",
        "path:param_key_g=None",
        "path:pretrain_network_g=a=b:c.pth",
        "val:metrics=~",
    )
    assert options.train is not None
    assert options.train.optim_g.args["betas"] == (0.9, 0.99)
    assert options.path.param_key_g is None
    assert options.path.pretrain_network_g == "a=b:c.pth"
    assert options.val.metrics == {}


def test_the_last_of_two_wins(load: Load) -> None:
    assert load(None, "scale=2", "scale=4").scale == 4


def test_the_place_of_an_override_is_the_command_line(load: Load) -> None:
    options = load(None, "train:ema_decay=0.5")
    assert options.where("train.ema_decay") == "--force_yml"
    assert options.where("train.total_iter") == "x.yml:13"


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("train:ema_decy=0.9", "--force_yml: train.ema_decy: unknown option; did you mean 'ema_decay'?"),
        (
            "train.total_iter=5",
            "--force_yml: train.total_iter=5: colons separate keys; write train:total_iter=5",
        ),
        ("tran:ema_decay=0.9", "--force_yml: tran: unknown option; did you mean 'train'?"),
        ("train:total_iter=1.5", "--force_yml: train.total_iter: expected a whole number, got 1.5"),
        ("train:total_iter=true", "--force_yml: train.total_iter: expected a whole number, got true"),
        (
            "val:save_img='true'",
            "--force_yml: val.save_img: expected true or false, got 'true'; write it without quotes",
        ),
        ("val:save_img=maybe", "--force_yml: val.save_img: expected true or false, got 'maybe'"),
        ("scale:x=1", "--force_yml: scale:x=1: 'scale' is a value, not a section"),
        ("scale", "--force_yml: 'scale' is not key=value; write train:ema_decay=0.999"),
        ("=3", "--force_yml: '=3' is not key=value; write train:ema_decay=0.999"),
        ("train:=3", "--force_yml: 'train:=3' is not key=value; write train:ema_decay=0.999"),
        ("scale=", "--force_yml: 'scale=' is not key=value; write train:ema_decay=0.999"),
        ("sc\nale=3", "--force_yml: 'sc\\nale=3' is not key=value; write train:ema_decay=0.999"),
        ("scale=[1", "--force_yml: scale=[1: not valid YAML: "),
    ],
)
def test_names_what_is_wrong(complaints: Complaints, override: str, complaint: str) -> None:
    (line,) = complaints(None, override)
    assert line.startswith(complaint)


def test_their_mistakes_come_after_those_of_the_file(complaints: Complaints) -> None:
    lines = complaints({"ema_decay": "ema_decy"}, "scale=x", "nonsense")
    assert [line.split(":")[0] for line in lines] == ["x.yml", "--force_yml", "--force_yml"]


PAYLOADS = [
    "__import__('os').system('touch pwned')",
    "[__import__('os').system('touch pwned')]",
    "[].__class__.__base__.__subclasses__()",
    "!!python/object/apply:os.system ['touch pwned']",
    "[!!python/object/apply:os.system ['touch pwned']]",
    "!!python/name:os.system",
    "${jndi:ldap://x}",
    "$(touch pwned)",
    "`touch pwned`",
]
KEYS = [
    'name"];__import__("os").system("touch pwned");opt["name',
    "name",
    "train:optim_g:lr",
    "__class__",
    "path:x",
]


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("key", KEYS)
def test_payloads_are_text_or_refused_and_never_run(
    load: Load, tmp_path: Path, key: str, payload: str
) -> None:
    try:
        options = load(None, f"{key}={payload}")
    except OptionsError:
        pass
    else:
        assert options.name == payload
    assert not (tmp_path / "pwned").exists()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.sampled_from(
        ["name", "scale", "train", "train:total_iter", "datasets:val", "val:metrics:m", "network_g"]
    )
    | st.text(max_size=12),
    value=st.text(max_size=25)
    | st.sampled_from(["[1", "{a: 1}", "~", "3", "1e9", "true", ".nan", "-1", "[[]]"]),
)
def test_any_override_is_taken_or_refused_in_one_way(
    write: Callable[[str], Path], small_text: str, key: str, value: str
) -> None:
    try:
        load_options(write(small_text), overrides=[f"{key}={value}"])
    except OptionsError as error:
        lines = error.problems
    else:
        lines = ["--force_yml or a line of the file"]
    assert lines
    assert all(line.startswith(("--force_yml", "x.yml:")) and "\n" not in line for line in lines)
