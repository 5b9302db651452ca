"""`srcx web`: a page in the browser for upscaling and comparing."""

from typing import Annotated

import typer

from srcx.cli.verb import Debug

EXAMPLES = """
  srcx web
  srcx web --model experiments/mine/models/net_g_latest.pth --port 8000
"""


def web(
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE ...", help="Checkpoints or exported files to offer besides srcx's own."),
    ] = None,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen at; 0.0.0.0 opens it to your network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=1, max=65535, help="Port to listen at.")] = 7860,
    debug: Debug = False,
) -> None:
    """Serve a page for upscaling images and comparing models, until Ctrl-C."""
    from srcx.inference import find_model
    from srcx.web import serve

    for one in model or []:
        find_model(one)  # an error now, not when a visitor chooses it
    serve(
        host=host,
        port=port,
        models=model or [],
        on_ready=lambda address: print(f"{address} (Ctrl-C stops it)", flush=True),
    )
