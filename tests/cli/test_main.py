import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from srcx import __version__
from srcx.cli import app
from srcx.cli.verb import spread, stopped_by_signals
from srcx.errors import UsageError
from srcx.imaging import write_image

REPOSITORY = Path(__file__).resolve().parents[2]
VERBS = ["new", "schema", "train", "test", "upscale", "benchmark", "score", "models", "transfer"]


def test_without_words_the_help_is_shown_and_the_exit_code_is_2(srcx):
    said = srcx()
    assert said.code == 2
    assert all(verb in said.out for verb in (*VERBS, "weights"))


@pytest.mark.parametrize(
    "words",
    [[verb] for verb in VERBS]
    + [["weights", verb] for verb in ("list", "fetch", "import")]
    + [["models", "average"]],
)
def test_every_verb_has_help_with_an_example(srcx, words):
    said = srcx(*words, "--help")
    assert said.code == 0
    assert f"Examples:\n\n  srcx {' '.join(words)}" in said.out
    reference = said.out.partition("Examples:")[0]
    assert not re.search(r"<(str|int|float|path|file|dir|list)|\{.*\}", reference), "types of Python"


@pytest.mark.parametrize(
    "words", [[], ["upscale"], ["weights"], ["weights", "list"], ["data", "prepare", "lr"]]
)
def test_h_and_help_mean_the_same_everywhere(srcx, words):
    wanted = srcx(*words, "--help").out
    assert wanted.startswith(f"Usage: {' '.join(['srcx', *words])}")
    assert srcx(*words, "-h").out == srcx("help", *words).out == wanted


@pytest.mark.parametrize("words", [[], ["weights"], ["data"], ["data", "prepare"]])
def test_lists_of_commands_have_whole_sentences(srcx, words):
    commands = srcx(*words, "--help").out.partition("Commands:")[2]
    assert commands
    assert "..." not in commands


def test_the_version_can_be_asked_for(srcx):
    assert srcx("--version").out == f"srcx {__version__}\n"


WRONG = [
    ("trian", "srcx: No such command 'trian'. Did you mean 'train', 'transfer'?; 'srcx --help' tells more"),
    ("train", "name the option file: -opt FILE"),
    ("test", "name the option file: -opt FILE"),
    ("train a.yml -opt b.yml", "a.yml: -opt names b.yml already"),
    ("upscale a -o b --scale abc", "srcx upscale: Invalid value for '--scale': expected a number; "),
    ("upscale a -o b --format gif", "srcx upscale: Invalid value for '--format': 'gif' is not one of "),
    ("benchmark -o b --every 1.5", "srcx benchmark: Invalid value for '--every': expected a whole number; "),
    (
        "benchmark -o b --every 0",
        "srcx benchmark: Invalid value for '--every': expected a number greater than or ",
    ),
    (
        "upscale a -o b --scal 2",
        "srcx upscale: No such option: --scal. Did you mean --scale?; 'srcx upscale ",
    ),
    ("upscale a -o b --format JPGG", "srcx upscale: Invalid value for '--format': 'JPGG' is not one of "),
    ("models --nope", "srcx models: No such option: --nope; 'srcx models --help' tells more"),
    ("weights", "srcx weights: Missing command; 'srcx weights --help' tells more"),
    ("weights fech", "srcx weights: No such command 'fech'. Did you mean 'fetch'?"),
    ("models nope", "nope: neither a model that comes with srcx nor a checkpoint (.pth, .safetensors)"),
]


@pytest.mark.parametrize(("words", "sentence"), WRONG, ids=[words for words, _ in WRONG])
def test_wrong_words_get_one_sentence_and_exit_code_2(srcx, words, sentence):
    said = srcx(*words.split())
    assert said.code == 2
    assert len(said.sentences) == 1
    assert said.sentences[0].startswith(sentence)
    assert said.out == ""


@pytest.mark.parametrize(
    ("words", "near"),
    [
        ("upscale a -o b --format jpgg", "jpg"),
        ("upscale a -o b --backend OpenVino", "openvino"),
        ("upscale a -o b --precision fp8", None),
        ("export --model m --format onx -o a.onnx", "onnx"),
    ],
)
def test_a_misspelt_value_is_answered_by_the_nearest(srcx, words, near):
    assert ("Did you mean" in srcx(*words.split()).err) == (near is not None)
    assert near is None or f". Did you mean '{near}'?;" in srcx(*words.split()).err


def every_command() -> list[list[str]]:
    """The words of every command."""
    from typer.main import get_command

    found, waiting = [], [([], get_command(app))]
    while waiting:
        words, command = waiting.pop()
        below = getattr(command, "commands", None)
        found += [] if below else [words]
        waiting += [([*words, name], one) for name, one in (below or {}).items()]
    return found


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_every_command_has_the_same_short_options(srcx, words):
    shown = srcx(*words, "-h").out
    for option in ("-v, --verbose", "-q, --quiet", "-h, --help", "--debug"):
        assert f"\n  {option} " in shown


@pytest.mark.parametrize(
    ("flags", "levels"), [([], ["WARNING"]), (["-v"], ["INFO", "WARNING"]), (["--quiet"], [])]
)
def test_verbosity_chooses_what_of_the_log_is_printed(srcx, monkeypatch, flags, levels):
    def find(name: str) -> None:
        logger = logging.getLogger("srcx.test")
        for level in ("INFO", "WARNING"):
            logger.log(logging.getLevelName(level), level)
        raise UsageError("an error is always printed")

    monkeypatch.setattr("srcx.inference.models.find_model", find)
    assert srcx("models", "bicubic", *flags).sentences == [*levels, "an error is always printed"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["srcx", "upscale", "--form"], ["--format"]),
        (["srcx", "upscale", "--backend", "o"], ["onnx", "openvino"]),
        (["srcx", "weights", ""], ["list", "fetch", "import"]),
    ],
)
def test_bash_completes_commands_options_and_values(words, expected):
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "_SRCX_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run([sys.executable, "-m", "srcx"], capture_output=True, text=True, env=environment)
    assert (done.stdout.split(), done.stderr) == (expected, "")


def test_debug_shows_the_traceback_and_the_sentence(srcx):
    said = srcx("models", "nope", "--debug")
    assert said.code == 2
    assert "Traceback" in said.err
    assert said.sentences[-1].startswith("nope: neither a model")


def test_a_bug_gets_one_sentence_that_says_how_to_see_it(srcx, monkeypatch):
    def broken(name: str) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr("srcx.inference.models.find_model", broken)
    said = srcx("models", "bicubic")
    assert said.code == 1
    assert said.sentences == [
        "srcx: unexpected ZeroDivisionError: by nothing; run it again with --debug to see where"
    ]
    assert "ZeroDivisionError" in srcx("models", "bicubic", "--debug").err


def test_ctrl_c_exits_with_130(srcx, monkeypatch):
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("srcx.inference.models.find_model", interrupted)
    said = srcx("models", "bicubic")
    assert (said.code, said.sentences) == (130, ["srcx models: stopped"])


@pytest.mark.parametrize(
    ("words", "same_as"),
    [
        (["--s", "a", "b"], ["--s", "a", "--s", "b"]),
        (["--s", "a", "--s", "b", "c"], ["--s", "a", "--s", "b", "--s", "c"]),
        (["--s", "a", "-o", "b", "c"], ["--s", "a", "-o", "b", "c"]),
        (["x", "y", "--s"], ["x", "y", "--s"]),
        (["--s=a", "b"], ["--s=a", "b"]),
    ],
)
def test_values_after_one_flag_are_values_of_that_flag(words, same_as):
    assert spread(words, {"--s"}) == same_as


@pytest.mark.parametrize(
    "words", [["-m", "srcx"], ["-c", "import sys; from srcx.cli import main; sys.exit(main())"]]
)
def test_it_runs_as_a_program_without_torch_until_it_is_needed(words):
    command = [sys.executable, "-X", "importtime", *words, "--help"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.startswith("Usage: srcx")
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "typer" in imported
    assert not imported & {"torch", "numpy", "pydantic", "rich", "cv2"}


def test_what_the_system_refuses_is_one_sentence(srcx, monkeypatch):
    def refuse(*_, **__):
        raise OSError(28, "No space left on device", "some/file")

    monkeypatch.setattr("srcx.cli.models.print", refuse, raising=False)
    said = srcx("models")
    assert (said.code, said.err) == (1, "srcx: some/file: No space left on device\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_stop_ends_a_command_as_ctrl_c_does_and_leaves_no_temporary_file(tmp_path, number):
    write_image(tmp_path / "a.png", np.zeros((8, 8), np.uint8))
    code = f"""
import os, signal, sys
from srcx.cli import main
from srcx.imaging import io

def write(path, *rest):
    path.write_bytes(b"half of an image")
    os.kill(os.getpid(), {int(number)})
    raise OSError(5, "is not reached by a process that is dead")

io.write_png = write
signal.signal({int(number)}, signal.SIG_DFL)  # the process may have been started to ignore it
sys.exit(main(["upscale", "a.png", "-o", "new/a.png", "--model", "bicubic"]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1] == "stopped; 0 upscaled; the same command continues with the rest"
    assert list((tmp_path / "new").iterdir()) == []


def test_a_signal_that_is_ignored_or_handled_stays_so():
    def handle(*_):
        """A handler of the program that calls the command."""

    before = signal.getsignal(signal.SIGTERM)
    try:
        for handler in (signal.SIG_IGN, handle, signal.SIG_DFL):
            signal.signal(signal.SIGTERM, handler)
            with stopped_by_signals():
                assert (signal.getsignal(signal.SIGTERM) == handler) == (handler != signal.SIG_DFL)
            assert signal.getsignal(signal.SIGTERM) == handler
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("stream", [0, 1, 2])
def test_a_closed_standard_stream_is_as_good_as_an_empty_one(tmp_path, stream):
    """As under a service manager; a file opened later would get its number and the text."""
    write_image(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    command = "from srcx.cli import main; raise SystemExit(main({words!r}))"
    for words, code in (
        (["upscale", "a.png", "-o", "b.png", "--model", "bicubic-x2"], 0),
        (["upscale", "-", "-o", "-", "--model", "bicubic-x2"], 1),
    ):
        said = subprocess.run(
            [sys.executable, "-c", command.format(words=words)],
            preexec_fn=lambda: os.close(stream),
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert said.returncode == code
        if stream != 2 and code:
            assert said.stderr.startswith("-: nothing came through the pipe")
        assert "unexpected" not in said.stderr
    assert (tmp_path / "b.png").is_file()
