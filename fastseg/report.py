"""Small pieces of a self-contained HTML page: elements, tables, figures, and the page around them.

Every string that is not `Markup` is escaped, so a name from a data set can never become an element. The page
forbids scripts and every outside resource by its content-security policy.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from fastseg.pictures import encoded

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_VOID = frozenset({"img", "meta", "br"})


class Markup(str):
    """Text that is already HTML: it is not escaped again."""


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """The element `name` with its children (escaped unless Markup) and attributes.

    A trailing underscore of an attribute is dropped (`class_`), others become hyphens (`stroke_width`).
    """
    given = "".join(f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"' for key, value in attributes.items())
    if name in _VOID:
        return Markup(f"<{name}{given}>")
    return Markup(f"<{name}{given}>{joined(children)}</{name}>")


def escaped(value: object) -> Markup:
    """The value as HTML text, also safe inside a double-quoted attribute; characters that cannot be shown as \\x.."""
    if isinstance(value, Markup):
        return value
    text = str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    shown = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii") for c in text)
    return Markup(html.escape(shown, quote=True))


def joined(children: Iterable[object]) -> Markup:
    """The children one after another, each escaped unless Markup."""
    return Markup("".join(escaped(child) for child in children))


def section(title: str, *children: object) -> Markup:
    """A titled section of the page."""
    return tag("section", tag("h2", title), *children)


def note(*children: object, class_: str = "note") -> Markup:
    """A paragraph in the muted colour."""
    return tag("p", *children, class_=class_)


def table(headers: Sequence[object], rows: Iterable[Sequence[object]], numeric: Sequence[int] = ()) -> Markup:
    """A table that scrolls sideways on narrow screens; columns in `numeric` are set right in tabular figures."""

    def line(kind: str, cells: Sequence[object]) -> Markup:
        return tag("tr", *(tag(kind, c, **({"class": "n"} if k in numeric else {})) for k, c in enumerate(cells)))

    head = tag("thead", line("th", headers))
    body = tag("tbody", *(line("td", row) for row in rows))
    return tag("div", tag("table", head, body), class_="scroll")


def facts(pairs: Iterable[tuple[str, object]]) -> Markup:
    """A row of tiles, each a large value over its name."""
    tiles = (tag("div", tag("b", value), tag("span", name)) for name, value in pairs)
    return tag("div", *tiles, class_="facts")


def picture(pixels: npt.NDArray[np.uint8], caption: object, *, kind: str = "png", over: Markup | None = None) -> Markup:
    """A figure of the pixels (H, W, 3) as a data URI, with its caption and an SVG laid over it."""
    data = base64.b64encode(encoded(pixels, kind)).decode("ascii")
    image = tag(
        "img", src=f"data:image/{kind};base64,{data}", alt=caption, width=pixels.shape[1], height=pixels.shape[0]
    )
    return tag("figure", tag("div", image, over or Markup(""), class_="stack"), tag("figcaption", caption))


def swatch(colour: Sequence[int] | npt.NDArray[np.uint8]) -> Markup:
    """A small square of the colour, for legends."""
    return tag("i", class_="swatch", style=f"background:{hex_colour(colour)}")


def hex_colour(colour: Sequence[int] | npt.NDArray[np.uint8]) -> str:
    """The colour as `#rrggbb`."""
    return "#" + "".join(f"{int(c):02x}" for c in colour)


def page(title: str, *body: object) -> str:
    """The whole HTML document."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Markup(STYLE)),
    )
    main = tag("main", *body)
    return f'<!doctype html>\n<html lang="en">{head}<body>{main}</body></html>\n'


STYLE = """
:root{--paper:#fff;--card:#f6f7f9;--ink:#1b1f27;--soft:#5d6675;--line:#dfe3ea;--one:#b8532c;--two:#2f6fb1;--three:#3b8a57}
@media(prefers-color-scheme:dark){:root{--paper:#14161b;--card:#1d2027;--ink:#e6e9ef;--soft:#99a2b2;--line:#2e333d;
--one:#e8895f;--two:#6fabe8;--three:#74c691}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1240px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:26px;line-height:1.2;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:18px;margin:36px 0 10px;padding-bottom:6px;border-bottom:1px solid var(--line)}
h3{font-size:14px;margin:0 0 8px;overflow-wrap:anywhere}
p{margin:6px 0;max-width:80ch}.note{color:var(--soft);font-size:13px}
.warn{border-left:3px solid var(--one);padding:6px 12px;background:var(--card);border-radius:0 6px 6px 0}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(130px,1fr));gap:10px;margin:16px 0}
.facts div{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:10px 14px}
.facts b{display:block;font-size:21px;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.facts span{color:var(--soft);font-size:12.5px}
.scroll{overflow-x:auto;margin:10px 0}
table{border-collapse:collapse;font-size:13.5px;min-width:50%}
th,td{text-align:left;padding:5px 14px 5px 0;border-bottom:1px solid var(--line);vertical-align:top}
td{overflow-wrap:anywhere}th{color:var(--soft);font-weight:600;white-space:nowrap}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(230px,1fr));gap:14px}
.fives{grid-template-columns:repeat(auto-fit,minmax(200px,1fr))}.grid .card{margin:0}
.thirds{grid-template-columns:repeat(auto-fit,minmax(min(340px,100%),1fr))}
.halves{grid-template-columns:repeat(auto-fit,minmax(min(480px,100%),1fr));gap:14px 30px}
.card p{max-width:none}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px;margin:14px 0}
.strip{display:grid;grid-template-columns:repeat(auto-fill,minmax(190px,1fr));gap:10px}
figure{margin:0;min-width:0}figcaption{color:var(--soft);font-size:12px;margin-top:3px;overflow-wrap:anywhere}
.stack{position:relative;line-height:0}.stack img{width:100%;height:auto;border-radius:5px}
.stack svg{position:absolute;inset:0;width:100%;height:100%}
.chart{width:100%;height:auto;display:block}.chart text{fill:var(--soft);font-size:11px}
.chart text.head{fill:var(--ink);font-size:12.5px;font-weight:600}.chart .axis{stroke:var(--line);stroke-width:1}
.chart .end{text-anchor:end}.chart .mid{text-anchor:middle}
.legend span{margin-right:16px;white-space:nowrap}
.swatch{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:6px;vertical-align:-1px}
code,pre{font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--card);border:1px solid var(--line);
border-radius:8px;padding:12px}
details summary{cursor:pointer;color:var(--soft)}
"""
