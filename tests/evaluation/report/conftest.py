import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture
def in_chromium(tmp_path: Path) -> Callable[..., list]:
    """What the script `probe` puts into `answer`, run at the end of the page."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium to look at the page")

    def answer(page: str, probe: str, *, width_px: int = 1280) -> list:
        script = f"<script>let answer; {probe}; document.body.textContent = JSON.stringify(answer);</script>"
        (tmp_path / "probe.html").write_text(page.replace("</body>", f"{script}</body>"), "utf-8")
        command = [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--window-size={width_px},800",
            "--dump-dom",
            "--virtual-time-budget=2000",
            (tmp_path / "probe.html").as_uri(),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
        return json.loads(html.unescape(re.search("<body[^>]*>(.*)</body>", done.stdout, re.DOTALL)[1]))

    return answer
