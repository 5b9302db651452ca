"""The page: what it shows, and the server behind it. Everything of gradio is here."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from srcx.errors import SrcxError, UsageError
from srcx.inference import bundled_models
from srcx.web.work import MOST_IMAGES, MOST_MEGAPIXELS, Shown, enlarge, forget_older

__all__ = ["serve"]

MOST_WAITING = 8
"""Visitors in the queue beside the one whose images are upscaled; more are told that it is full."""
MOST_BYTES = 64 << 20
"""Of a file that is uploaded."""
KEEP_S = 3600
"""How long files that were uploaded or made are kept."""

FIDELITY_STEP = 0.1
FIDELITY_INFO = "0: sharp, as the model is; 1: its faithful parent, softer, which invents nothing"

INTRODUCTION = f"""# srcx
Drop images, choose a model, and compare. Nothing leaves this machine. At most {MOST_IMAGES} images of
{MOST_MEGAPIXELS} megapixels at a time; `srcx upscale` takes whole folders.
"""
STYLE = """
.gradio-container { width: 100% !important; max-width: 1280px !important; margin: auto; }
#work { min-width: 280px; }
footer { display: none !important; }
"""


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    models: Sequence[str] = (),
    ready: Callable[[str], object] = lambda address: None,
) -> None:
    """Serve the page until Ctrl-C.

    Args:
        host: Address to listen at; the default is reached from this machine alone.
        port: Port to listen at.
        models: Checkpoints to offer beside the models that come with srcx.
        ready: Told the page's address when it can be opened.

    Raises:
        UsageError: gradio is not installed, or the port is taken.
    """
    gradio = _gradio()
    with tempfile.TemporaryDirectory(prefix="srcx-web-") as folder:
        page = _page(gradio, models, Path(folder))
        try:
            _, address, _ = page.launch(
                server_name=host,
                server_port=port,
                max_file_size=MOST_BYTES,
                theme=gradio.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
                css=STYLE,
                footer_links=[],
                quiet=True,
                prevent_thread_lock=True,
            )
        except OSError as error:
            raise UsageError(
                f"{host}:{port}: cannot listen there; choose another --port or --host"
            ) from error
        ready(address)
        page.block_thread()


def _gradio() -> Any:
    try:
        import gradio
    except ImportError as error:
        raise UsageError(
            "srcx web: needs gradio, which is not here; pip install 'srcx[web]' brings it"
        ) from error
    return gradio


def _told(gradio: Any, text: str) -> Exception:
    """Return an error for the visitor alone: a traceback for each mistake would fill the server's log."""
    error: Exception = gradio.Error(text, print_exception=False)
    return error


def _page(gradio: Any, models: Sequence[str], folder: Path) -> Any:
    """Return the widgets and what they do; results are kept in `folder`."""
    names = [*models, *((f"{name}: {about}", name) for name, (_, about) in bundled_models().items())]
    automatic = ("automatic: by whether the image is clean or damaged", "auto")
    with gradio.Blocks(title="srcx", analytics_enabled=False, delete_cache=(KEEP_S, KEEP_S)) as page:
        gradio.Markdown(INTRODUCTION)
        made = gradio.State([])
        with gradio.Row():
            with gradio.Column(scale=1, elem_id="work"):
                images = gradio.File(
                    label="Images",
                    file_count="multiple",
                    height=170,
                    elem_id="images",
                )
                model = gradio.Dropdown(
                    [automatic, *names],
                    value=models[0] if models else "auto",
                    label="Model (right)",
                    elem_id="model",
                )
                fidelity = gradio.Slider(
                    0,
                    1,
                    value=0,
                    step=FIDELITY_STEP,
                    label="Fidelity",
                    info=FIDELITY_INFO,
                    elem_id="fidelity",
                )
                other = gradio.Dropdown(names, value="bicubic", label="Compare with (left)", elem_id="other")
                start = gradio.Button("Upscale", variant="primary", elem_id="start")
                files = gradio.File(label="Results", interactive=False, elem_id="results")
            with gradio.Column(scale=3):
                slider = gradio.ImageSlider(
                    show_label=False,  # it would hide a corner of the image
                    format="png",
                    max_height=640,
                    interactive=False,
                    elem_id="slider",
                )
                which = gradio.Radio([], label="Image", visible=False, elem_id="which")
                about = gradio.Markdown(elem_id="about")

        def work(
            paths: list[str] | None,
            model: str,
            other: str,
            fidelity: float,
            progress: Any = gradio.Progress(),  # noqa: B008
        ) -> Any:
            forget_older(folder, KEEP_S)
            try:
                shown = enlarge(
                    [Path(path) for path in paths or []],
                    model,
                    other,
                    folder,
                    lambda done, total, what: progress((done, total), desc=what, unit="steps"),
                    fidelity=fidelity,
                )
            except SrcxError as error:
                raise _told(gradio, str(error)) from error
            labels = [f"{number}. {one.name}" for number, one in enumerate(shown, start=1)]
            choice = gradio.Radio(labels, value=labels[0], visible=len(labels) > 1)
            return shown, [str(one.file) for one in shown], choice, *look(labels[0], shown)

        def look(label: str, shown: list[Shown]) -> tuple[tuple[str, str], str]:
            one = shown[int(label.partition(".")[0]) - 1]
            if not one.after.exists():
                raise _told(gradio, f"{one.name}: was removed after {KEEP_S // 60} minutes; upscale it again")
            why = f" The image is {one.reason}." if one.reason else ""
            now = f"**{one.name}** is now {one.size[0]} x {one.size[1]} pixels, by {one.model}.{why}"
            now += f" Left: {one.other}. Right: {one.model}."
            return (str(one.before), str(one.after)), now

        start.click(
            work,
            [images, model, other, fidelity],
            [made, files, which, slider, about],
            show_progress_on=slider,
        )
        which.input(look, [which, made], [slider, about])
    return page.queue(max_size=MOST_WAITING, default_concurrency_limit=1)
