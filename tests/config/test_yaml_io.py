from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from srcx.config.document import Document
from srcx.config.yaml_io import MAX_BYTES, read_file, read_value, to_text
from srcx.errors import OptionsError

Write = Callable[[str], Path]


@pytest.fixture
def read(write: Write) -> Callable[[str], Document]:
    return lambda text: read_file(write(text))


@pytest.fixture
def complaints(write: Write) -> Callable[[str], list[str]]:
    def complain(text: str) -> list[str]:
        with pytest.raises(OptionsError) as caught:
            read_file(write(text))
        return caught.value.problems

    return complain


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("!!float 1e-4", 1e-4),
        ("!!float 5e3", 5000.0),
        ("300_000", 300_000),
        ("012", 12),
        ("3__0", 30),
        ("0x1F", 31),
        ("0o17", 15),
        ("0b101", 5),
        ("-7", -7),
        ("255.", 255.0),
        ("~", None),
        ("null", None),
        ("None", None),
        ("none", "none"),
        ("'None'", "None"),
        ('"None"', "None"),
        ("NoneSuch", "NoneSuch"),
        ("", None),
        ("True", True),
        ("false", False),
        ("yes", True),
        ("On", True),
        ("NO", False),
        ("off", False),
        ("'yes'", "yes"),
        ("y", "y"),
        ("yEs", "yEs"),
        ("[on, only]", [True, "only"]),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("'1e-4'", "1e-4"),
        ("!!str 3", "3"),
        ("'{}x4'", "{}x4"),
        ("[1, [2, a]]", [1, [2, "a"]]),
        ("{a: {b: ~}}", {"a": {"b": None}}),
    ],
)
def test_reads_values_as_yaml_1_2_with_exponents_as_numbers_and_the_booleans_of_1_1(
    text: str, value: object
) -> None:
    read = read_value(text)
    assert (type(read), read) == (type(value), value)


@pytest.mark.parametrize("text", ["yes", "Off", "NO", "on", "None", "?", "?a", "only"])
def test_text_that_would_read_as_another_value_is_written_in_quotes(text: str) -> None:
    value = {"name": text, "names": [text], text: 1}
    assert read_value(to_text(value), "x.yml") == value


def test_a_key_given_twice_with_one_value_gives_a_warning_and_is_taken(
    read: Callable[[str], Document], caplog: pytest.LogCaptureFixture
) -> None:
    document = read("a: {b: ~}\nc: 1\na:\n  b: null\n")
    assert document.data == {"a": {"b": None}, "c": 1}
    assert document.place(("a",)).line == 1
    (said,) = caplog.messages
    assert (
        said == "x.yml:3: 'a' is given twice; the first stands in line 1 and has the same value; remove one"
    )


def test_a_windows_path_in_single_quotes_or_with_slashes_is_read_as_it_is() -> None:
    assert read_value(r"'D:\new\train'") == r"D:\new\train"
    assert read_value('"D:/new/train"') == "D:/new/train"
    assert read_value('"D:\\\\new"') == "D:\\new"


def test_reads_infinities() -> None:
    assert read_value("[.inf, -.inf]") == [float("inf"), float("-inf")]


def test_knows_the_line_of_keys_and_list_items(read: Callable[[str], Document]) -> None:
    document = read("a: 1\nb:\n  c:\n    - 2\n    - {d: 3}\n  e: [4,\n   5]\n")
    lines = {path: place.line for path, place in document.places.items()}
    assert lines[("a",)] == 1
    assert lines[("b", "c", 0)] == 4
    assert lines[("b", "c", 1, "d")] == 5
    assert lines[("b", "e", 0)] == 6
    assert lines[("b", "e", 1)] == 7
    assert str(document.places[("b", "e", 1)]) == "x.yml:7"


def test_aliases_and_merges_are_written_out(read: Callable[[str], Document]) -> None:
    document = read("a: &a {x: 1, y: 2}\nb: &b {x: 3, z: 4}\nc: *a\nd:\n  y: 5\n  <<: [*a, *b]\n")
    assert document.data["c"] == {"x": 1, "y": 2}
    assert document.data["d"] == {"x": 1, "y": 5, "z": 4}
    assert document.places[("d", "y")].line == 5
    assert document.places[("d", "z")].line == 2


def test_of_two_anchors_of_one_name_the_nearest_above_counts(read: Callable[[str], Document]) -> None:
    assert read("a: &x 1\nb: *x\nc: &x 2\nd: *x\n").data == {"a": 1, "b": 1, "c": 2, "d": 2}


def test_an_alias_is_a_copy(read: Callable[[str], Document]) -> None:
    data = read("a: &a {x: 1}\nb: *a\n").data
    data["b"]["x"] = 2
    assert data["a"]["x"] == 1


def test_reads_a_file_with_a_byte_order_mark_and_windows_lines(write: Write) -> None:
    path = write("")
    path.write_bytes("\ufeffa: 1\r\nb: ü\r\n".encode())
    assert read_file(path).data == {"a": 1, "b": "ü"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "x.yml:1: this option file is empty; start from one under options/"),
        ("# nothing\n", "x.yml:1: this option file is empty; start from one under options/"),
        (
            "- a\n",
            "x.yml:1: this option file does not hold 'key: value' lines; start from one under options/",
        ),
        ("just words\n", "x.yml:1: this option file does not hold 'key: value' lines; start from one"),
        ("a: 1\nb:\n\tc: 2\n", "x.yml:3: a tab where spaces are needed; YAML indents with spaces only"),
        ("a: 1\nb: [1, 2\nc: 3\n", "x.yml:3: not valid YAML: "),
        ("a: 1\n b: 2\n", "x.yml:2: not valid YAML: "),
        ("a: *b\n", "x.yml:1: not valid YAML: found undefined alias"),
        ("a: 1\n---\nb: 2\n", "x.yml:2: a second '---' document; an option file holds one"),
        ("a: 1\nb: 2\na: 3\n", "x.yml:3: 'a' is given twice; the first stands in line 1"),
        ("a: 1\na: 1.0\n", "x.yml:2: 'a' is given twice; the first stands in line 1"),
        (
            'a: "D:\\data"\n',
            "x.yml:1: found unknown escape character 'd': in double quotes a backslash begins",
        ),
        ('a: "D:\\users"\n', "x.yml:1: expected escape sequence of 4 hexdecimal numbers, but found 's': in"),
        ('a: "D:\\new"\n', "x.yml:1: the path 'D:\\new' holds control characters: in double quotes a backsl"),
        ('a: "D:\\_new"\n', "x.yml:1: the path 'D:\\xa0new' holds control characters: in double quotes a b"),
        ("a: {b: 1, b: 2}\n", "x.yml:1: 'b' is given twice; the first stands in line 1"),
        ("a: 1\n3: 2\n", "x.yml:2: a key must be text, not 3; put it in quotes"),
        ("a: 1\n[b]: 2\n", "x.yml:2: a key must be text, not a list or section; put it in quotes"),
        ("a: !!float b\n", "x.yml:1: 'b' cannot be read as !!float"),
        ("a: !!int 1.5\n", "x.yml:1: '1.5' cannot be read as !!int"),
        ("a: !!bool yes\n", "x.yml:1: 'yes' cannot be read as !!bool"),
        (f"a: {'9' * 5000}\n", f"x.yml:1: '{'9' * 37}...' cannot be read as !!int"),
        ('a: "\\ud800"\n', "x.yml:1: '\\ud800' cannot be read as !!str"),
        ('"a\\nb": 1\n', "x.yml:1: the key 'a\\nb' holds characters that cannot be printed"),
        ("a: 1\nb: {<<: 3}\n", "x.yml:2: '<<' takes an alias of a section, or a list of them"),
        ("a: \x07\n", "x.yml:1: not valid YAML: "),
    ],
)
def test_names_the_line_of_what_is_wrong(
    complaints: Callable[[str], list[str]], text: str, complaint: str
) -> None:
    (line,) = complaints(text)
    assert line.startswith(complaint)


@pytest.mark.parametrize(
    "payload",
    [
        "!!python/object/apply:os.system ['touch pwned']",
        "!!python/object/new:os.system ['touch pwned']",
        "!!python/name:os.system",
        "!!python/name:os.system ''",
        "!!python/module:os",
        "!!python/tuple [1, 2]",
        "!!binary aGVsbG8=",
        "!!set {a, b}",
        "!!omap [a: 1]",
        "!<tag:yaml.org,2002:python/object/apply:os.system> ['touch pwned']",
        "!Custom {a: 1}",
    ],
)
def test_any_tag_but_those_of_plain_values_is_refused(
    complaints: Callable[[str], list[str]], payload: str, tmp_path: Path
) -> None:
    (line,) = complaints(f"a: 1\nb: {payload}\n")
    assert line.startswith("x.yml:2: the tag !")
    assert line.endswith("is not allowed: option files hold plain values")
    assert not (tmp_path / "pwned").exists()


def test_lists_every_mistake_with_its_line(complaints: Callable[[str], list[str]]) -> None:
    text = "a: !!python/name:x 1\nb: {c: 1, c: 2}\nb: !!int x\n4: 5\n"
    assert [line.split(":")[1] for line in complaints(text)] == ["1", "2", "3", "3", "4"]


def test_alias_bombs_are_refused_quickly(complaints: Callable[[str], list[str]]) -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    (line,) = complaints("\n".join(rows) + "\n")
    assert "aliases that repeat too many values" in line


@pytest.mark.parametrize(
    "text", ["a: &a [*a]\n", "a: &a {b: *a}\n", "a: &a {<<: *a}\n", "&r a: 1\nb: &b {<<: [*b]}\n"]
)
def test_an_alias_inside_itself_is_refused(complaints: Callable[[str], list[str]], text: str) -> None:
    (line,) = complaints(text)
    assert "nested deeper than 30 levels, or an alias inside itself" in line


@pytest.mark.parametrize(
    "text", ["a: " + "[" * 5000, "a: " + "{a: " * 5000, "- " * 3000 + "a", "a: " + "[" * 31 + "]" * 31]
)
def test_deep_nesting_is_refused(complaints: Callable[[str], list[str]], text: str) -> None:
    assert complaints(text) == ["x.yml:1: nested deeper than 30 levels, or an alias inside itself"]


def test_refuses_files_that_are_no_text(write: Write) -> None:
    path = write("")
    for raw, complaint in [
        (b"\x89PNG\r\n\x1a\n\x00\x00", "x.yml:1: not UTF-8 text"),
        ("a: ü\n".encode("latin-1"), "x.yml:1: not UTF-8 text"),
        ("a: 1\n".encode("utf-16"), "x.yml:1: not UTF-8 text"),
        (b"a: 1\0\n", "x.yml: a binary file"),
        (b"#" * (MAX_BYTES + 1), "x.yml: larger than 256 KiB"),
    ]:
        path.write_bytes(raw)
        with pytest.raises(OptionsError) as caught:
            read_file(path)
        assert caught.value.problems[0].startswith(complaint)


def test_names_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path, said in [(tmp_path / "no.yml", "No such file or directory"), (tmp_path, "Is a directory")]:
        with pytest.raises(OptionsError) as caught:
            read_file(path)
        assert caught.value.problems == [f"{path}: cannot read this option file: {said}"]
    with pytest.raises(OptionsError, match="cannot read this option file"):
        read_file(Path("a\0b.yml"))


@settings(max_examples=150)
@given(st.text(max_size=60) | st.text(alphabet="ab:{}[]&*!<>-|'\"%# \n,?1.e~@`", max_size=60))
@example("%YAML 1.1\n---\na: 1:30\n")
@example("%YAML 9.9\n---\na: 1\n")
@example("%YAML x\n---\n")
@example("%TAG ! tag:x,2:\n---\n!a b\n")
@example("!!!")
@example("? ")
@example("a: !")
@example("=: =")
@example("<<: {}")
@example("&a &a a")
@example("- !!map a")
@example("!!null a")
def test_any_text_is_read_or_refused_in_one_way(text: str) -> None:
    assert all(problem.startswith("--force_yml: ") for problem in problems_of(text))


@settings(max_examples=100)
@given(
    st.text(max_size=20).filter(str.isprintable) | st.sampled_from(["~", "null", "True", "1e-4", "0x1", "="])
)
@example("None")
@example("")
def test_any_text_that_is_written_is_read_back(text: str) -> None:
    options = {"name": text, "names": [text], text: 1}
    assert read_value(to_text(options)) == options


def problems_of(text: str) -> list[str]:
    try:
        read_value(text)
    except OptionsError as error:
        return error.problems
    return []


@pytest.mark.parametrize(
    ("suffix", "text"),
    [(".json", '{"task": "a", // of KAIR\n "scale": 4}'), (".toml", 'name = "x"\n[train]\nlr = 1\n')],
)
def test_files_of_other_tools_are_named_by_their_format(tmp_path: Path, suffix: str, text: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_text(text)
    with pytest.raises(
        OptionsError, match=f"expected a YAML file in BasicSR's dialect; got a {suffix} file"
    ) as error:
        read_file(path)
    assert len(error.value.problems) == 1
