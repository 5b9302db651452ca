from srcx.config.document import Document, Place, dotted


def small() -> Document:
    places = {("a",): Place(1, "x.yml"), ("a", "b"): Place(2, "x.yml"), ("a", "c"): Place(3, "x.yml")}
    return Document("x.yml", {"a": {"b": 1, "c": [4]}}, dict(places))


def test_names_keys_with_dots_and_items_with_brackets() -> None:
    assert dotted(("train", "betas", 1)) == "train.betas[1]"
    assert dotted(()) == ""


def test_the_place_of_something_not_written_is_its_section_or_the_files_start() -> None:
    document = small()
    assert str(document.place(("a", "b"))) == "x.yml:2"
    assert str(document.place(("a", "new", "deeper"))) == "x.yml:1"
    assert str(document.place(("new",))) == "x.yml:1"


def test_putting_makes_the_sections_and_forgets_what_was_inside() -> None:
    document = small()
    document.put(("a",), {"d": {}}, Place(9, "x.yml"))
    document.put(("n", "m"), 2, Place.command_line())
    assert document.data == {"a": {"d": {}}, "n": {"m": 2}}
    assert document.place(("a", "b")).line == 9
    assert str(document.place(("n", "m"))) == str(document.place(("n",))) == "--force_yml"


def test_taking_removes_value_and_place() -> None:
    document = small()
    assert document.take(("a", "c")) == ([4], Place(3, "x.yml"))
    assert document.data == {"a": {"b": 1}}
    assert document.place(("a", "c")).line == 1


def test_getting_goes_through_sections_only() -> None:
    document = small()
    assert document.get(("a", "b")) == 1
    assert document.get(("a", "b", "x")) is None
    assert document.get(("a", "c", 0)) is None


def test_the_command_line_sorts_behind_the_file() -> None:
    assert Place(10**6, "x.yml") < Place.command_line()
