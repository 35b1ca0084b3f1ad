"""Write what was measured for others to read: one HTML file to send, and a section of a model's card.

It knows nothing about models and scorers: it is handed text, tables and figures.
"""

import base64
import html
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

MARKS = ("<!-- scores of stage 3: begin -->", "<!-- scores of stage 3: end -->")
_STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:auto;padding:0 1em;color:#222}
img{max-width:100%;height:auto}.wide{overflow-x:auto}table{border-collapse:collapse;font-size:14px}
th,td{padding:.3em .6em;border-bottom:1px solid #ccc;text-align:left;vertical-align:top}
thead th{border-bottom:2px solid #222}tbody th{position:sticky;left:0;background:#fff}"""


def write_report(path: Path, title: str, parts: Iterable[Any]) -> None:
    """Write one self-contained page: a text is a paragraph, a text that begins with "## " a heading.

    A DataFrame becomes a table that scrolls on a narrow screen, a Figure an image inside the page.
    """
    body = "\n".join(_as_html(part) for part in parts)
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title><style>{_STYLE}</style></head>
<body><h1>{html.escape(title)}</h1>
{body}
</body></html>
"""
    Path(path).write_text(page, encoding="utf-8")


def add_scores(card_path: Path, rows: Sequence[dict[str, Any]], note: str) -> None:
    """Write the summary rows into a model card, in a section of its own that replaces an earlier one."""
    lines = [f"| {row['measure']} | {row['correct']} of {row['total']} | {_interval(row)} |" for row in rows]
    head = [MARKS[0], "## Scores", "", note, "", "| measure | answers | 95 % interval |", "|---|--:|--:|"]
    section = "\n".join([*head, *lines, MARKS[1]])
    card = card_path.read_text(encoding="utf-8") if card_path.exists() else ""
    old = re.compile(f"{re.escape(MARKS[0])}.*?{re.escape(MARKS[1])}", re.DOTALL)
    new = old.sub(lambda _: section, card) if old.search(card) else f"{card.rstrip()}\n\n{section}\n".lstrip()
    card_path.write_text(new, encoding="utf-8")


def _as_html(part: Any) -> str:
    if isinstance(part, Figure):
        image = io.BytesIO()
        part.savefig(image, format="png", dpi=160)
        title = next((axes.get_title() for axes in part.axes if axes.get_title()), "figure")
        data = base64.b64encode(image.getvalue()).decode()
        return f'<p><img alt="{html.escape(title)}" src="data:image/png;base64,{data}"></p>'
    if isinstance(part, pd.DataFrame):
        return f'<div class="wide">{part.to_html(border=0, na_rep="-", float_format="{:.3g}".format)}</div>'
    text = html.escape(str(part))
    return f"<h2>{text[3:]}</h2>" if text.startswith("## ") else f"<p>{text}</p>"


def _interval(row: dict[str, Any]) -> str:
    return "{:.0%} to {:.0%}".format(*row["interval"])
