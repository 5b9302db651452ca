"""`srcx schema`: the JSON schema of option files."""

from srcx.cli.verb import Debug

EXAMPLES = """
  srcx schema > schema.json
"""


def schema(debug: Debug = False) -> None:
    """Print the JSON schema of option files, by which editors complete and check them."""
    from srcx.training.schema import schema_text

    print(schema_text(), end="")
