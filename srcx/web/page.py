"""The page and its server; the only module that uses gradio."""

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from srcx.errors import Interrupted, SrcxError, UsageError
from srcx.inference import bundled_models
from srcx.inference.bundled import automatic_models
from srcx.web.slider import compare_widget, html_of
from srcx.web.work import MAX_IMAGES, MAX_MEGAPIXELS, MAX_S, Comparison, compare, remove_older, zip_of

__all__ = ["serve"]

MAX_WAITING = 8
"""Visitors in the queue, besides the one whose images are upscaled; for more, the queue is full."""
MAX_BYTES = 64 << 20
"""Largest upload."""
FILES_S = 2 * MAX_S
"""Uploads and results are deleted after this time."""

AT_ONCE: Any = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
"""Of actions that take no time, so that they do not wait for the work of other visitors."""

SCALES = (("model's", 0), ("x2", 2), ("x3", 3), ("x4", 4))
FIDELITY_STEP = 0.1
FIDELITY_INFO = "0: the model as it is, sharp; 1: its faithful parent, softer, which invents nothing"

INTRODUCTION = f"""# srcx
Drop images, choose a model, and compare. Nothing leaves this machine. At most {MAX_IMAGES} images at a time,
with results of at most {MAX_MEGAPIXELS} megapixels (12-megapixel photographs at x4);
`srcx upscale` takes folders.
"""
STYLE = """
.gradio-container { width: 100% !important; max-width: 1280px !important; margin: auto; }
#work { min-width: 280px; }
#work .secondary-wrap input { text-overflow: ellipsis; padding-right: 1.5rem; }
#scale .wrap { gap: .4rem; } #scale label { padding: .4rem .6rem; }
#which label { overflow-wrap: anywhere; }
.file-preview .stem { white-space: normal !important; overflow-wrap: anywhere; }
#results .label-clear-button { display: none; }
footer { display: none !important; }
:focus-visible, label:has(> input:focus-visible) { outline: 3px solid var(--color-accent) !important;
  outline-offset: 2px; }
.upload-container:focus-visible { outline-offset: -4px; }
.icon-button, .upload-container.icon-mode, .label-clear-button { min-width: 24px; min-height: 24px; }
#fidelity ::-webkit-slider-thumb { border: 2px solid var(--color-accent); }
#fidelity ::-moz-range-thumb { border: 2px solid var(--color-accent); }
@media (prefers-reduced-motion: reduce) { * { animation: none !important; transition: none !important; } }
@media (max-width: 640px) {
  .gradio-container .app { padding: .75rem !important; }
  #slider .meta-text { display: none; }  /* the seconds would lie on the words */
}
"""
SHOW_SLIDER = """() => {
  const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
  document.querySelector('#slider').scrollIntoView({behavior: still ? 'auto' : 'smooth', block: 'nearest'});
  return [];
}"""
FOCUS = """(...values) => {  // the button that had it has disappeared, and Tab would begin at the top
  setTimeout(() => {
    if (document.activeElement === document.body) document.querySelector('%s')?.focus({preventScroll: true});
  }, 100);
  return values;
}"""
NAMES = """() => {  // what gradio's widgets lack for screen readers and the keyboard
  const name = () => {
    for (const group of document.querySelectorAll('fieldset')) {
      group.setAttribute('aria-label', group.querySelector('[data-testid=block-info]').textContent);
      for (const radio of group.querySelectorAll('input[type=radio]')) radio.name = group.id;
    }
    for (const add of document.querySelectorAll('#images .upload-container'))
      add.setAttribute('aria-label', `Images: ${add.innerText || 'add more'}`);
    for (const link of document.querySelectorAll('a[download]'))
      link.setAttribute('aria-label', `${link.download}, ${link.innerText}`);
    for (const file of document.querySelectorAll('#images .file'))
      file.querySelector('.label-clear-button')
        ?.setAttribute('aria-label', `Remove ${file.querySelector('.filename').getAttribute('aria-label')}`);
    for (const frame of document.querySelectorAll('.icon-button:has(button)')) frame.tabIndex = -1;
    document.querySelector('#about')?.setAttribute('aria-live', 'polite');
  };
  new MutationObserver(name).observe(document.body, {childList: true, subtree: true});
  name();
}"""
WORDS = {"common.upload": "Add images", "common.complete": "Done"}
"""Words that gradio 6.31 shows and reads aloud, and whose text it lacks."""
CONTRAST = {
    "block_label_text_color": "*primary_700",
    "block_title_text_color": "*primary_700",
    "block_info_text_color": "*neutral_600",
    "body_text_color_subdued": "*neutral_600",
    "button_primary_background_fill": "*primary_600",
    "button_primary_background_fill_hover": "*primary_700",
    "checkbox_label_background_fill_selected": "*primary_600",
    "checkbox_border_color": "*neutral_500",
    "checkbox_border_color_dark": "*neutral_300",
    "checkbox_border_width": "1px",
    "checkbox_border_width_dark": "1px",
}
"""In place of the theme's own, which lack the contrast of WCAG 2.2 AA: 4.5 for text, 3 for controls."""


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
            with _without_proxy():
                _, address, _ = page.launch(
                    server_name=host,
                    server_port=port,
                    max_file_size=MAX_BYTES,
                    allowed_paths=[folder],  # a random name; for the slider
                    theme=gradio.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["monospace"]).set(
                        **CONTRAST
                    ),
                    css=STYLE,
                    js=NAMES,
                    i18n=gradio.I18n(en=WORDS),
                    footer_links=[],
                    quiet=True,
                    prevent_thread_lock=True,
                    _frontend=False,  # else an error where the first answer takes more than 3 seconds
                )
        except OSError as error:
            raise UsageError(
                f"{host}:{port}: cannot listen there; choose another --port or --host"
            ) from error
        on_ready(address)
        page.block_thread()


@contextmanager
def _without_proxy() -> Iterator[None]:
    """Ask no proxy of the environment for this machine's own address, as gradio does when it starts."""
    before = os.environ.get("no_proxy")
    os.environ["no_proxy"] = "*"
    try:
        yield
    finally:
        if before is None:
            del os.environ["no_proxy"]
        else:
            os.environ["no_proxy"] = before


def _visitor_error(gradio: Any, text: str) -> Exception:
    """Return an error that only the visitor sees, until they close it: reading takes its time.

    Tracebacks of such mistakes would fill the server's log.
    """
    error: Exception = gradio.Error(text, duration=None, print_exception=False)
    return error


def _sentences(models: Sequence[str]) -> dict[str, str]:
    """Return a sentence about each model that the page offers, by name."""
    clean, damaged = automatic_models(None)
    return {
        "auto": f"for each image the model that suits it: {damaged} if it is damaged, else {clean}",
        **{name: "a checkpoint on this machine" for name in models},
        **{name: about for name, (_, about) in bundled_models().items()},
    }


def _time_left(since_s: float, done: int, total: int) -> str:
    left_s = (time.monotonic() - since_s) / done * (total - done)
    return (
        "" if done == total else f", {left_s / 60:.0f} min left" if left_s > 90 else f", {left_s:.0f} s left"
    )


class _Actions(NamedTuple):
    """The actions of the page's buttons."""

    begin: Callable[..., Any]
    """Swap the buttons, before the visitor waits in the queue."""
    work: Callable[..., Any]
    end: Callable[..., Any]
    """Swap the buttons back, after the work or its error."""
    stop: Callable[..., Any]
    """Stop the work of a visitor who asks for it or has left."""
    look: Callable[..., Any]


def _actions(gradio: Any, folder: Path) -> _Actions:
    """Return the actions; results are written to `folder`."""
    stops: dict[str, threading.Event] = {}  # of each visitor at work or in the queue

    def begin(request: gradio.Request) -> tuple[Any, Any]:
        stops[request.session_hash] = threading.Event()
        return gradio.Button(visible=False), gradio.Button(visible=True)

    def work(
        paths: list[str] | None,
        model: str,
        other: str,
        fidelity: float,
        scale: int,
        request: gradio.Request,
        progress: Any = gradio.Progress(),  # noqa: B008
    ) -> Any:
        stop, since_s = stops.get(request.session_hash) or threading.Event(), 0.0

        def on_progress(what: str, done: int, total: int) -> None:
            nonlocal since_s
            if stop.is_set():
                raise Interrupted("stopped")
            if done:
                left = _time_left(since_s, done, total)
                progress(done / total, desc=f"{what}: tile {done} of {total}{left}")
            else:
                since_s = time.monotonic()
                progress(0, desc=what)

        remove_older(folder, FILES_S)
        images, done = [Path(path) for path in paths or []], []
        try:
            for one in compare(
                images, model, other, folder, on_progress, scale=scale or None, fidelity=fidelity
            ):
                done.append(one)
        except SrcxError as error:
            if not done and not stop.is_set():
                raise _visitor_error(gradio, str(error)) from error
            gradio.Warning(f"{error}; {len(done)} of {len(images)} images are done", duration=None)
        if not done:
            return [], gradio.File(visible=False), gradio.Radio(visible=False), html_of(None), ""
        results = [one.file for one in done]
        try:
            results += [zip_of(done, folder)] if len(done) > 1 else []
        except SrcxError as error:  # the images are there all the same
            gradio.Warning(str(error), duration=None)
        files = gradio.File([str(file) for file in results], visible=True)
        labels = [f"{number}. {one.name}" for number, one in enumerate(done, start=1)]
        choice = gradio.Radio(labels, value=labels[0], visible=len(labels) > 1)
        return done, files, choice, *look(labels[0], done)

    def end(request: gradio.Request) -> tuple[Any, Any]:
        stops.pop(request.session_hash, None)
        return gradio.Button(visible=True), gradio.Button(visible=False)

    def stop(request: gradio.Request) -> None:
        if request.session_hash in stops:
            stops[request.session_hash].set()

    def look(label: str, made: list[Comparison]) -> tuple[str, str]:
        one = made[int(label.partition(".")[0]) - 1]
        if not one.after.exists():
            raise _visitor_error(
                gradio, f"{one.name}: was deleted after {FILES_S // 3600} hours; upscale it again"
            )
        why = f" The image is {one.reason}." if one.reason else ""
        now = f"**{one.name}** is now {one.size[0]} x {one.size[1]} pixels, by {one.model}.{why}"
        return html_of(one), now

    return _Actions(begin, work, end, stop, look)


def _model_choice(gradio: Any, label: str, models: dict[str, str], name: str, elem_id: str) -> Any:
    """Return a list of models, with the sentence about the chosen one above it."""
    options = [(f"{one}: {about}", one) for one, about in models.items()]
    choice = gradio.Dropdown(
        options, value=name, label=label, info=models[name], elem_id=elem_id, filterable=False
    )
    choice.change(lambda name: gradio.Dropdown(info=models[name]), choice, choice, **AT_ONCE)
    return choice


def _page(gradio: Any, models: Sequence[str], folder: Path) -> Any:
    """Return the widgets, with their actions."""
    do, sentences = _actions(gradio, folder), _sentences(models)
    others = {name: about for name, about in sentences.items() if name != "auto"}
    with gradio.Blocks(title="srcx", analytics_enabled=False, delete_cache=(FILES_S, FILES_S)) as page:
        gradio.Markdown(INTRODUCTION)
        made = gradio.State([])
        with gradio.Row():
            with gradio.Column(scale=1, elem_id="work"):
                images = gradio.File(label="Images", file_count="multiple", height=170, elem_id="images")
                first = models[0] if models else "auto"
                model = _model_choice(gradio, "Model (right)", sentences, first, "model")
                scale = gradio.Radio(SCALES, value=0, label="Scale", elem_id="scale")
                fidelity = gradio.Slider(
                    0,
                    1,
                    value=0,
                    step=FIDELITY_STEP,
                    label="Fidelity",
                    info=FIDELITY_INFO,
                    elem_id="fidelity",
                )
                other = _model_choice(gradio, "Compare with (left)", others, "bicubic", "other")
                start = gradio.Button("Upscale", variant="primary", elem_id="start")
                stop = gradio.Button("Stop", variant="stop", visible=False, elem_id="stop")
            with gradio.Column(scale=3, elem_id="shown"):
                slider = compare_widget(gradio)
                which = gradio.Radio([], label="Image", visible=False, elem_id="which")
                about = gradio.Markdown(elem_id="about")
                files = gradio.File(label="Results", interactive=False, visible=False, elem_id="results")
        work = start.click(do.begin, None, [start, stop], js=SHOW_SLIDER, **AT_ONCE).then(
            do.work,
            [images, model, other, fidelity, scale],
            [made, files, which, slider, about],
            show_progress_on=slider,
            js=FOCUS % "#stop",
        )
        for ended in (work.success, work.failure):  # gradio 6.31 runs no `then` after an error
            swapped = ended(do.end, None, [start, stop], **AT_ONCE)
            swapped.then(None, None, None, js=FOCUS % "#start", **AT_ONCE)
        stop.click(do.stop, None, None, **AT_ONCE)
        page.unload(do.stop)
        # Hidden, since a screen reader would read the seconds of its progress aloud.
        which.input(do.look, [which, made], [slider, about], show_progress="hidden")
    return page.queue(max_size=MAX_WAITING, default_concurrency_limit=1)
