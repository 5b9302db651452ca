"""The comparison on the page: two results over each other, a line between them, and a view at 100 %.

The text comes from Python; styles and actions are the browser's, and stay while the images change.
"""

from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from srcx.web.work import Comparison

__all__ = ["compare_widget", "html_of"]

STYLE = """
.compare { text-align: center; padding: .5rem; }
.compare .view { position: relative; overflow: hidden; margin: auto; touch-action: pan-y; cursor: ew-resize;
  background: #fff; user-select: none; --at: 50%; --x: 50%; --y: 50%; }
.compare .view img { position: absolute; inset: 0; width: 100%; height: 100%; max-width: none; margin: 0;
  object-fit: contain; object-position: var(--x) var(--y); pointer-events: none; }
.compare .view .over { clip-path: inset(0 0 0 var(--at)); }
.compare .view::after { content: ""; position: absolute; top: 0; bottom: 0; left: var(--at); width: 4px;
  margin-left: -2px; background: #fff; box-shadow: 0 0 3px #000; }
.compare .view.actual { cursor: grab; touch-action: none; }
.compare .view.actual img { object-fit: none; }
.compare .name { position: absolute; bottom: .5rem; z-index: 1; max-width: 45%; padding: .1rem .5rem;
  border-radius: .3rem; background: #000b; color: #fff; font-size: .85rem; overflow-wrap: anywhere; }
.compare .before { left: .5rem; } .compare .after { right: .5rem; }
.compare input { display: block; width: 100%; margin: .6rem 0; }
.compare button { padding: .4rem .9rem; margin: .2rem; border: 1px solid var(--border-color-primary);
  border-radius: .4rem; color: var(--body-text-color); background: var(--button-secondary-background-fill); }
.compare button[aria-pressed=true] { background: var(--primary-600); color: #fff; }
.compare .hint { margin: .3rem 0; color: var(--body-text-color-subdued); font-size: .85rem; }
.compare:fullscreen { background: var(--body-background-fill); }
.empty { display: grid; place-items: center; min-height: 15rem; color: var(--body-text-color-subdued); }
"""

ACTIONS = """
const GRIP_PX = 24;
const KEYS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
const KEY_STEP = 1 / 8;  // of the view
let at = 50, x = 50, y = 50, actual = false, held = null;
const part = (name) => element.querySelector(name);
const percent = (value) => Math.min(Math.max(value, 0), 100);

const show = () => {
  const view = part(".view");
  if (!view) return;
  view.classList.toggle("actual", actual);
  view.tabIndex = actual ? 0 : -1;
  part(".hint").hidden = !actual;
  for (const [name, value] of [["--at", at], ["--x", x], ["--y", y]])
    view.style.setProperty(name, value + "%");
  for (const image of view.querySelectorAll("img")) {
    const wanted = actual ? image.dataset.full : image.dataset.preview;
    if (image.getAttribute("src") !== wanted) image.src = wanted;
  }
  part("input").value = at;
  part(".actual-size").setAttribute("aria-pressed", actual);
};

const zoom = (across, down) => {  // into this place, from 0 to 1, or out again
  const view = part(".view"), {width, height} = view.dataset;
  const shown = (place, whole, part) => percent(100 * (place * whole - part / 2) / (whole - part || 1));
  actual = !actual;
  x = actual && width > view.clientWidth ? shown(across, width, view.clientWidth) : 50;
  y = actual && height > view.clientHeight ? shown(down, height, view.clientHeight) : 50;
  show();
};

const pan = (across_px, down_px) => {  // towards the right and the bottom of the image
  const view = part(".view"), {width, height} = view.dataset;
  const moved = (place, by, hidden) => hidden > 0 ? percent(place + 100 * by / hidden) : place;
  x = moved(x, across_px, width - view.clientWidth);
  y = moved(y, down_px, height - view.clientHeight);
  show();
};

const places = (event) => {
  const box = part(".view").getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
};

element.addEventListener("pointerdown", (event) => {
  const view = event.target.closest(".view");
  if (!view || event.button) return;
  const far_px = Math.abs(places(event)[0] - at / 100) * view.clientWidth;
  held = {image: actual && far_px > GRIP_PX, left: event.clientX, top: event.clientY};
  view.setPointerCapture(event.pointerId);
});
element.addEventListener("pointermove", (event) => {
  if (!held) return;
  if (held.image) {
    pan(held.left - event.clientX, held.top - event.clientY);
    held = {image: true, left: event.clientX, top: event.clientY};
  } else {
    at = percent(100 * places(event)[0]);
    show();
  }
});
for (const end of ["pointerup", "pointercancel"]) element.addEventListener(end, () => held = null);
element.addEventListener("dblclick", (event) => event.target.closest(".view") && zoom(...places(event)));
element.addEventListener("keydown", (event) => {  // on the view and the buttons; the range has its own
  const by = KEYS[event.key], view = part(".view");
  if (!by || !actual || event.target.closest("input")) return;
  if (event.altKey || event.ctrlKey || event.metaKey) return;  // the browser's own
  event.preventDefault();  // the page would scroll
  pan(by[0] * KEY_STEP * view.clientWidth, by[1] * KEY_STEP * view.clientHeight);
});
element.addEventListener("input", (event) => { at = Number(event.target.value); show(); });
element.addEventListener("click", (event) => {
  if (event.target.closest(".actual-size")) zoom(0.5, 0.5);
  if (event.target.closest(".screen"))
    document.fullscreenElement ? document.exitFullscreen() : part(".compare").requestFullscreen?.();
});
watch("value", () => { actual = false; x = y = 50; show(); });
"""

NOTHING = '<div class="empty">The result appears here.</div>'


def compare_widget(gradio: Any) -> Any:
    """Return the widget; its value is a text of `html_of`."""
    return gradio.HTML(
        NOTHING,
        css_template=STYLE,
        js_on_load=ACTIONS,
        apply_default_css=False,
        elem_id="slider",
        min_height=260,
    )


def html_of(one: Comparison | None) -> str:
    """Return the HTML of a comparison, or of the empty place; names from outside stay text."""
    if one is None:
        return NOTHING
    width, height = one.size

    def image(kind: str, preview: Path, full: Path, model: str) -> str:
        small, large = (f"gradio_api/file={quote(str(path))}" for path in (preview, full))
        sources = f'src="{small}" data-preview="{small}" data-full="{large}"'
        text = escape(f"{one.name} by {model}")
        return f'<img class="{kind}" alt="{text}" {sources}>'

    return f"""<div class="compare">
<div class="view" role="group" aria-label="comparison" data-width="{width}" data-height="{height}"
 style="aspect-ratio: {width} / {height}; width: min(100%, {70 * width / height:.2f}vh)">
{image("under", one.before, one.before_file, one.other)}{image("over", one.after, one.file, one.model)}
<span class="name before" aria-hidden="true">{escape(one.other)}</span>
<span class="name after" aria-hidden="true">{escape(one.model)}</span></div>
<input type="range" min="0" max="100" step="0.5" value="50"
 aria-label="where the left image ends, in percent">
<button type="button" class="actual-size" aria-pressed="false">100 %</button>
<button type="button" class="screen">Full screen</button>
<p class="hint" role="status" hidden>To move the image, drag it or press the arrow keys.</p></div>"""
