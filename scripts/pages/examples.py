"""Show the `Example:` of a docstring as code on the site; mkdocstrings knows `Examples:` alone."""

import griffe


class Examples(griffe.Extension):
    """Renames the heading before a docstring is read."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        if obj.docstring:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
