"""`srcx transfer`: the style of one image on the content of another."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from srcx.cli.progress import progress
from srcx.cli.verb import Debug
from srcx.errors import Interrupted, UsageError

EXAMPLES = """
  srcx transfer portrait.jpg painting.jpg -o painted.png
  srcx transfer portrait.jpg painting.jpg -o painted.png --by gram --size 512 --iterations 300
"""


def transfer(
    content: Annotated[Path, typer.Argument(metavar="CONTENT", help="The image to change.")],
    style: Annotated[Path, typer.Argument(metavar="STYLE", help="The image with the style.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="The result.")],
    by: Annotated[
        Literal["contextual", "gram", "patches"],
        typer.Option(
            help="The style loss. contextual: similar features, wherever they are; gram: features that "
            "occur together (Gatys); patches: patches of features (CNNMRF)."
        ),
    ] = "contextual",
    size: Annotated[
        int,
        typer.Option(
            metavar="N", min=32, help="Both images are first resized to this longer side, in pixels."
        ),
    ] = 256,
    iterations: Annotated[int, typer.Option(metavar="N", min=1, help="Steps of the optimisation.")] = 120,
    debug: Debug = False,
) -> None:
    """Put the style of one image on the content of another: an application of the contextual loss."""
    from srcx.atomic import check_folder, make_folder, real_path
    from srcx.imaging import IMAGE_SUFFIXES, write_image
    from srcx.inference.transfer import Step, read_content, read_style, steps
    from srcx.training.random_state import seed_generators

    if out.suffix.lower() not in IMAGE_SUFFIXES:
        raise UsageError(f"{out}: images are written as {', '.join(IMAGE_SUFFIXES)}; name one of these")
    if out.is_dir():
        raise UsageError(f"{out}: is a folder; name a file")
    if real_path(out) in (real_path(content), real_path(style)):
        raise UsageError(f"{out}: is an input and would be replaced by the result; name another -o")
    check_folder(out.parent)
    seed_generators(0)  # the contextual loss draws positions
    last: Step | None = None
    try:
        with progress() as on_progress:
            of = read_content(content, size, suffix=out.suffix.lower())
            like = read_style(style, size, profile=of.extras.icc)
            made = steps(of.image, like, by=by, iterations=iterations)
            make_folder(out.parent)  # after what may be wrong with the images, before the work
            for last in made:
                on_progress(f"loss {last.loss:.4f}", last.iteration, iterations)
    except KeyboardInterrupt:
        if last is None:
            raise
        write_image(out, of.result(last), extras=of.extras)
        raise Interrupted(
            f"stopped after step {last.iteration} of {iterations}; {out} is the result so far"
        ) from None
    assert last is not None
    write_image(out, of.result(last), extras=of.extras)
    print(f"{out}: {last.image.shape[3]} x {last.image.shape[2]} pixels after {iterations} steps")
