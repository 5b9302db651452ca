"""The page and its server; the only module that uses gradio."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from srcx.errors import SrcxError, UsageError
from srcx.inference import bundled_models
from srcx.web.work import MAX_IMAGES, MAX_MEGAPIXELS, Comparison, compare, remove_older

__all__ = ["serve"]

MAX_WAITING = 8
"""Visitors in the queue, besides the one whose images are upscaled; for more, the queue is full."""
MAX_BYTES = 64 << 20
"""Largest upload."""
FILES_S = 3600
"""Uploads and results are deleted after this time."""

FIDELITY_STEP = 0.1
FIDELITY_INFO = "0: the model as it is, sharp; 1: its faithful parent, softer, which invents nothing"

INTRODUCTION = f"""# srcx
Drop images, choose a model, and compare. Nothing leaves this machine. At most {MAX_IMAGES} images of
{MAX_MEGAPIXELS} megapixels at a time; `srcx upscale` takes whole folders.
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
    on_ready: Callable[[str], object] = lambda address: None,
) -> None:
    """Serve the page until Ctrl-C.

    Args:
        host: Address to listen at; the default accepts connections from this machine only.
        port: Port to listen at.
        models: Checkpoints to offer besides the models that come with srcx.
        on_ready: Called with the page's address when it can be opened.

    Raises:
        UsageError: gradio is not installed, or the port is taken.
    """
    try:
        import gradio
    except ImportError as error:
        raise UsageError(
            "srcx web: needs gradio, which is not installed; pip install 'srcx[web]' installs it"
        ) from error
    with tempfile.TemporaryDirectory(prefix="srcx-web-") as folder:
        page = _page(gradio, models, Path(folder))
        try:
            _, address, _ = page.launch(
                server_name=host,
                server_port=port,
                max_file_size=MAX_BYTES,
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
        on_ready(address)
        page.block_thread()


def _visitor_error(gradio: Any, text: str) -> Exception:
    """Return an error that only the visitor sees: tracebacks of such mistakes would fill the server's log."""
    error: Exception = gradio.Error(text, print_exception=False)
    return error


def _page(gradio: Any, models: Sequence[str], folder: Path) -> Any:
    """Return the widgets and their actions; results are written to `folder`."""
    names = [*models, *((f"{name}: {about}", name) for name, (_, about) in bundled_models().items())]
    automatic = ("automatic: by whether the image is clean or damaged", "auto")
    with gradio.Blocks(title="srcx", analytics_enabled=False, delete_cache=(FILES_S, FILES_S)) as page:
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
            remove_older(folder, FILES_S)
            try:
                shown = compare(
                    [Path(path) for path in paths or []],
                    model,
                    other,
                    folder,
                    lambda what, done, total: progress((done, total), desc=what, unit="steps"),
                    fidelity=fidelity,
                )
            except SrcxError as error:
                raise _visitor_error(gradio, str(error)) from error
            labels = [f"{number}. {one.name}" for number, one in enumerate(shown, start=1)]
            choice = gradio.Radio(labels, value=labels[0], visible=len(labels) > 1)
            return shown, [str(one.file) for one in shown], choice, *look(labels[0], shown)

        def look(label: str, shown: list[Comparison]) -> tuple[tuple[str, str], str]:
            one = shown[int(label.partition(".")[0]) - 1]
            if not one.after.exists():
                raise _visitor_error(
                    gradio, f"{one.name}: was deleted after {FILES_S // 60} minutes; upscale it again"
                )
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
    return page.queue(max_size=MAX_WAITING, default_concurrency_limit=1)
