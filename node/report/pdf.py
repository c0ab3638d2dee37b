"""The report as PDF, of the same content as the page."""

from __future__ import annotations

import io
from functools import cache, partial
from typing import Any
from xml.sax.saxutils import escape

import fontpkg
from reportlab.graphics.shapes import Drawing, Line, Rect, String
from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import CondPageBreak, Flowable, KeepTogether, Paragraph, SimpleDocTemplate, Spacer, TableStyle
from reportlab.platypus import Table as Grid

from node.report.document import Bars, Block, Figure, Report, Section, Table, Text

_INK, _SOFT, _LINE, _BLUE, _BAD = map(HexColor, ("#1c2733", "#5a6877", "#d7dee5", "#2a5d8a", "#a3271d"))
_WIDTH = A4[0] - 36 * mm - 12  # less the frame's padding
_FONT = "NotoSans"
_TITLED = 75.0  # points that a title and the first rows of a table take


@cache
def _styles() -> dict[str, ParagraphStyle]:
    pdfmetrics.registerFont(TTFont(_FONT, str(fontpkg.path("Noto Sans"))))
    style = partial(ParagraphStyle, fontName=_FONT, textColor=_INK, splitLongWords=True)
    return {
        "title": style("title", fontSize=20, leading=25),
        "under": style("under", fontSize=9.5, leading=13, textColor=_SOFT),
        "part": style("part", fontSize=14, leading=18, spaceBefore=16, spaceAfter=5, textColor=_BLUE),
        "table": style("table", fontSize=10, leading=13, spaceBefore=7, spaceAfter=3),
        "text": style("text", fontSize=9.5, leading=13.5, spaceAfter=5),
        "remark": style("remark", fontSize=8.5, leading=11.5, spaceBefore=4, spaceAfter=5, textColor=_SOFT),
        "cell": style("cell", fontSize=8.5, leading=11),
        "number": style("number", fontSize=8.5, leading=11, alignment=TA_RIGHT),
        "head": style("head", fontSize=8.5, leading=11, textColor=_SOFT),
        "head number": style("head number", fontSize=8.5, leading=11, textColor=_SOFT, alignment=TA_RIGHT),
        "big": style("big", fontSize=15, leading=19),
        "bad": style("bad", fontSize=15, leading=19, textColor=_BAD),
    }


def render(report: Report) -> bytes:
    """The PDF's bytes; the same report gives the same bytes."""
    made = io.BytesIO()
    page = SimpleDocTemplate(made, pagesize=A4, leftMargin=18 * mm, rightMargin=18 * mm, topMargin=16 * mm,
                             bottomMargin=18 * mm, title=report.title, author=report.subtitle, invariant=1)  # fmt: skip
    styles = _styles()
    story: list[Flowable] = [
        Paragraph(escape(report.title), styles["title"]),
        Paragraph(escape(f"{report.subtitle} · {report.made} · times in UTC"), styles["under"]),
        Spacer(1, 8), _figures(report.figures),
    ]  # fmt: skip
    for number, section in enumerate(report.sections, start=1):
        story += _section(number, section)
    foot = partial(_foot, report.title)
    page.build(story, onFirstPage=foot, onLaterPages=foot)
    return made.getvalue()


def _foot(title: str, canvas: Any, page: Any) -> None:
    canvas.setFont(_FONT, 8)
    canvas.setFillColor(_SOFT)
    canvas.drawString(18 * mm, 10 * mm, title)
    canvas.drawRightString(A4[0] - 18 * mm, 10 * mm, f"page {page.page}")


def _figures(figures: tuple[Figure, ...]) -> Grid:
    styles, across = _styles(), 4
    cells = [
        [Paragraph(escape(one.title), styles["under"]),
         Paragraph(escape(one.value), styles["big" if one.good else "bad"]),
         Paragraph(escape(one.beside), styles["under"])]
        for one in figures
    ]  # fmt: skip
    cells += [[] for _ in range(-len(cells) % across)]
    grid = Grid([cells[at : at + across] for at in range(0, len(cells), across)], colWidths=[_WIDTH / across] * across)
    grid.setStyle(TableStyle([
        ("VALIGN", (0, 0), (-1, -1), "TOP"), ("LINEABOVE", (0, 0), (-1, -1), 0.6, _LINE),
        ("LEFTPADDING", (0, 0), (-1, -1), 0),
    ]))  # fmt: skip
    return grid


def _section(number: int, section: Section) -> list[Flowable]:
    title: Flowable = Paragraph(escape(f"{number}. {section.title}"), _styles()["part"])
    # A title stays with the beginning of what follows it, which itself may go on over the page's end.
    return [CondPageBreak(_TITLED + 24), title, *(one for block in section.blocks for one in _block(block))]


def _block(block: Block) -> list[Flowable]:
    styles = _styles()
    if isinstance(block, Text):
        return [Paragraph(escape(block.text), styles["remark" if block.remark else "text"])]
    if isinstance(block, Bars):
        return [KeepTogether([Paragraph(escape(block.title), styles["table"]), _bars(block)])]
    title = Paragraph(escape(block.title), styles["table"])
    if not block.rows:
        return [title, Paragraph("None.", styles["remark"])]
    return [CondPageBreak(_TITLED), title, _table(block)]


def _table(table: Table) -> Grid:
    styles = _styles()

    def cell(at: int, text: str, head: bool) -> Paragraph:
        number = at >= table.numbers
        name = ("head number" if number else "head") if head else ("number" if number else "cell")
        return Paragraph(escape(text), styles[name])

    rows = [[cell(at, one, True) for at, one in enumerate(table.columns)]]
    rows += [[cell(at, one, False) for at, one in enumerate(row)] for row in table.rows]
    grid = Grid(rows, colWidths=_widths(table), repeatRows=1)
    grid.setStyle(TableStyle([
        ("VALIGN", (0, 0), (-1, -1), "TOP"), ("LINEBELOW", (0, 0), (-1, -1), 0.4, _LINE),
        ("LEFTPADDING", (0, 0), (-1, -1), 0), ("RIGHTPADDING", (0, 0), (-1, -1), 5),
        ("TOPPADDING", (0, 0), (-1, -1), 2), ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
    ]))  # fmt: skip
    return grid


def _widths(table: Table) -> list[float]:
    """By the longest word and the length of what a column holds, so that short ones leave room to long ones."""
    wanted = []
    for at, title in enumerate(table.columns):
        texts = [title, *(row[at] for row in table.rows)]
        # Numbers stay on one line; names break between words, and within one only where it is very long.
        parts = [part for text in texts for part in ([text] if at >= table.numbers and text != title else text.split())]
        word = max((pdfmetrics.stringWidth(part, _FONT, 8.5) for part in parts), default=0.0)
        whole = max(pdfmetrics.stringWidth(text, _FONT, 8.5) for text in texts)
        wanted.append((min(word, 260) + 8, min(whole, 230) + 8))
    least, most = sum(one for one, _ in wanted), sum(one for _, one in wanted)
    if most <= _WIDTH:
        return [one + (_WIDTH - most) / len(wanted) for _, one in wanted]
    room = max(0.0, _WIDTH - least) / max(most - least, 1e-9)
    found = [low + (high - low) * room for low, high in wanted]
    return [one * _WIDTH / sum(found) for one in found]


def _bars(chart: Bars) -> Drawing:
    height, left, foot = 110.0, 32.0, 26.0
    drawing = Drawing(_WIDTH, height)
    top, tall, n = chart.top, height - foot - 8, len(chart.values)
    each = (_WIDTH - left) / n
    for share_ in (0.0, 0.5, 1.0):
        y = foot + tall * share_
        drawing.add(Line(left, y, _WIDTH, y, strokeColor=_SOFT if not share_ else _LINE, strokeWidth=0.5))
        drawing.add(String(left - 4, y - 3, f"{top * share_:,.4g}", fontName=_FONT, fontSize=7.5, fillColor=_SOFT,
                           textAnchor="end"))  # fmt: skip
    edges = 0.0 if chart.edges else 0.5
    for at, (label, value) in enumerate(zip(chart.labels, chart.values, strict=True)):
        drawing.add(
            Rect(left + each * (at + 0.1), foot, each * 0.8, tall * value / top, fillColor=_BLUE, strokeColor=None)
        )
        if at % 5 == 0 or n <= 12:
            drawing.add(_under(left + each * (at + edges), foot, label))
    if chart.edges:
        drawing.add(_under(_WIDTH - 3, foot, "1"))
    drawing.add(String(left + (_WIDTH - left) / 2, 3, chart.axis, fontName=_FONT, fontSize=7.5, fillColor=_SOFT,
                       textAnchor="middle"))  # fmt: skip
    return drawing


def _under(x: float, foot: float, label: str) -> String:
    return String(x, foot - 10, label, fontName=_FONT, fontSize=7.5, fillColor=_SOFT, textAnchor="middle")
