"""The plain values of an option file, with the line of each."""

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Document", "KeyPath", "Place", "dotted"]

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the top of the file down to one value."""

LAST = 10**9


@dataclass(frozen=True, order=True)
class Place:
    """The line of a file, or the command line, that gives an option."""

    line: int
    source: str

    @classmethod
    def command_line(cls) -> "Place":
        """Return the place of a value given with --force_yml; it sorts behind every line of the file."""
        return cls(LAST, "--force_yml")

    def __str__(self) -> str:
        return self.source if self.line == LAST else f"{self.source}:{self.line}"


def dotted(path: KeyPath) -> str:
    """Return a value's name in messages.

    Example:
        >>> dotted(("train", "optim_g", "betas", 1))
        'train.optim_g.betas[1]'
    """
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".")


@dataclass
class Document:
    """The values of one option file with their places.

    Attributes:
        file: The file's name as the user gave it.
        data: Its content: mappings, lists, text, numbers, booleans and None.
        places: The place of each key or list item.
        old_words: For values that `srcx.config.dialect` moved, the path in the file.
    """

    file: str
    data: dict[str, Any]
    places: dict[KeyPath, Place] = field(default_factory=dict)
    old_words: dict[KeyPath, KeyPath] = field(default_factory=dict)

    def place(self, path: KeyPath) -> Place:
        """Return the place of `path`; for one not in the file, that of its section."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return Place(1, self.file)

    def name(self, path: KeyPath) -> str:
        """Return the name of the value at `path` in the keys of the file."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.old_words:
                return dotted(self.old_words[path[:length]] + path[length:])
        return dotted(path)

    def get(self, path: KeyPath) -> Any:
        """Return the value at `path`, or None."""
        value: Any = self.data
        for key in path:
            if not isinstance(value, dict) or key not in value:
                return None
            value = value[key]
        return value

    def put(self, path: KeyPath, value: Any, place: Place, *, old_word: KeyPath | None = None) -> None:
        """Write `value` at `path` and make the sections it needs; its parents must be sections or absent.

        Args:
            path: The keys from the top of the file.
            value: The value.
            place: The user's line.
            old_word: The user's path, if it is another.
        """
        self._forget(path)
        if old_word is not None:
            self.old_words[path] = old_word
        section = self.data
        for length, key in enumerate(path[:-1], start=1):
            if section.get(str(key)) is None:
                section[str(key)] = {}
                self.places.setdefault(path[:length], place)
            section = section[str(key)]
        section[str(path[-1])] = value
        self.places[path] = place

    def take(self, path: KeyPath) -> tuple[Any, Place]:
        """Remove the value at `path` and return it with its place."""
        taken = self.get(path[:-1]).pop(path[-1]), self.place(path)
        self._forget(path)
        return taken

    def _forget(self, path: KeyPath) -> None:
        for known in [known for known in (*self.places, *self.old_words) if known[: len(path)] == path]:
            self.places.pop(known, None)
            self.old_words.pop(known, None)
