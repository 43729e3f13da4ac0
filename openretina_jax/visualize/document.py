"""HTML documents that need nothing but themselves, and fit on a phone."""

import base64
import html
import io
import re
from collections.abc import Sequence

from matplotlib.figure import Figure

from openretina_jax.visualize.style import DPI

PRINT_OVER_SCREEN = 1.3  # figures are smaller on screens than in print
_STYLE = """
:root { color-scheme: light }
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 66rem; margin: 1.5rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; line-height: 1.25; overflow-wrap: anywhere }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; border-bottom: 1px solid #ccc; overflow-wrap: anywhere }
h3 { font-size: 1rem; margin: 1.5rem 0 .3rem }
a { color: #0059b3 }
nav ul { margin: 0; padding-left: 1.25rem }
nav > ul { display: flex; flex-wrap: wrap; gap: .5rem 2.5rem; padding: 0; list-style: none }
img { max-width: 100%; height: auto; display: block }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: 13px; margin-top: .5rem }
th, td { padding: 3px 14px 3px 0; border-bottom: 1px solid #e4e4e4; text-align: left; vertical-align: top }
th { font-weight: 600 }
tbody th { font-weight: 400; white-space: nowrap }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
td.text { min-width: 15rem }
td.code { font-family: ui-monospace, monospace; overflow-wrap: anywhere }
@media (max-width: 40rem) {
  body { margin: .75rem auto }
  .wide > img { max-width: none; width: 42rem }
  thead th:first-child, tbody th { position: sticky; left: 0; background: #fff }
}
"""


def document(title: str, body: str, style: str = "") -> str:
    """Write a whole page below its title.

    Args:
        title: its title, as text.
        body: HTML.
        style: CSS besides that of all pages.
    """
    name = html.escape(title)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name}</title>\n<style>{_STYLE}{style}</style>\n</head>\n<body>\n<h1>{name}</h1>\n{body}\n"
        "</body>\n</html>\n"
    )


def heading(level: int, title: str, within: str = "") -> str:
    """Write a heading that ``contents`` finds.

    Args:
        level: 2 for a chapter, 3 for a section of it.
        title: as text.
        within: title of the chapter, which tells sections of one title apart.
    """
    identity = re.sub(r"[^a-z0-9]+", "-", f"{within} {title}".lower()).strip("-")
    return f'<h{level} id="{identity}">{html.escape(title)}</h{level}>'


def contents(body: str) -> str:
    """Write a list of links to all headings of a page."""
    chapters: list[tuple[str, list[str]]] = []
    for level, identity, title in re.findall(r'<h([23]) id="([^"]*)">(.*?)</h\1>', body):
        link = f'<a href="#{identity}">{title}</a>'
        if level == "2":
            chapters.append((link, []))
        else:
            chapters[-1][1].append(f"<li>{link}</li>")
    items = [f"<li>{link}<ul>{''.join(parts)}</ul></li>" for link, parts in chapters]
    return f'<nav aria-label="Contents"><ul>{"".join(items)}</ul></nav>'


def paragraph(sentences: Sequence[str]) -> str:
    """Write sentences, a line each."""
    return f"<p>{'<br>'.join(map(html.escape, sentences))}</p>"


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], texts: Sequence[int] = (), *, code: bool = False
) -> str:
    """Write a table whose first column names the rows.

    Args:
        header: names of the columns; empty: none are shown.
        rows: cells, as text.
        texts: columns besides the first that hold words; the others hold numbers.
        code: whether words are values of settings, paths or hashes.
    """

    def line(row: Sequence[str], of_cells: str, of_first: str) -> str:
        written = [f"<th {of_first}>{html.escape(row[0])}</th>"] if row else []
        for number, cell in enumerate(row[1:], start=1):
            kind = "number" if number not in texts else "code" if code else "text"
            written.append(f'<{of_cells} class="{kind}">{html.escape(cell)}</{of_cells.split()[0]}>')
        return f"<tr>{''.join(written)}</tr>"

    head = f"<thead>{line(header, 'th scope=col', 'scope=col')}</thead>" if header else ""
    body = "\n".join(line(row, "td", "scope=row") for row in rows)
    return f'<div class="wide"><table>{head}<tbody>{body}</tbody></table></div>'


def image(data: bytes, kind: str, alt: str, attributes: str = "") -> str:
    """Write an image that is part of the page.

    Args:
        data: bytes of the file.
        kind: "png" or "gif".
        alt: what it shows, for those who do not see it.
        attributes: further ones, as HTML.
    """
    text = base64.b64encode(data).decode("ascii")
    return f'<img {attributes} alt="{html.escape(alt)}" src="data:image/{kind};base64,{text}">'


def drawing(figure: Figure, alt: str, *, attributes: str = "", dpi: int = DPI) -> str:
    """Write a figure as an image of the page, in the size for screens."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi)
    width = int(figure.get_figwidth() * dpi / PRINT_OVER_SCREEN)
    return image(stream.getvalue(), "png", alt, f'width="{width}" {attributes}'.strip())
