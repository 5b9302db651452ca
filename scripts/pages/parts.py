"""Write docs/parts.md, the table of every part, from `srcx.registry`.

python scripts/pages/parts.py
"""

from pathlib import Path

from srcx.registry import markdown

if __name__ == "__main__":
    page = Path(__file__).resolve().parents[2] / "docs" / "parts.md"
    page.write_text(markdown(), encoding="utf-8")
    print(f"written: {page}")
