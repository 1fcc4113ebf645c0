"""A report as one page: style, script and data inside, and a policy that forbids it the network."""

from __future__ import annotations

import base64
import hashlib
import html
import importlib.resources
import json
import re
from typing import TYPE_CHECKING, Any

from dime_hf.errors import PackageError
from dime_hf.report.blocks import Figure, Printed, Table, Text

if TYPE_CHECKING:
    from dime_hf.report.run import Report

POLICY = (
    "default-src 'none'; script-src 'sha256-{script}'; style-src 'unsafe-inline'; img-src data:; media-src data:; "
    "base-uri 'none'; form-action 'none'"
)


def render(report: Report) -> str:
    """The page of a report."""
    try:
        import jinja2
        from markupsafe import Markup
    except ImportError as error:
        raise PackageError("`report`", "jinja2", "report") from error
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    script = f"\n{_file('explorer.js')}"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return environment.from_string(_file("page.html.jinja")).render(
        report=report,
        policy=POLICY.format(script=digest),
        style=Markup(_file("page.css")),
        script=Markup(script),
        utterances=Markup(harmless_json(report.utterances)),
        kind=lambda block: {Text: "text", Table: "table", Figure: "figure", Printed: "printed"}[type(block)],
        drawing=lambda figure: Markup(inline(figure)),
    )


def _file(name: str) -> str:
    return importlib.resources.files("dime_hf.report").joinpath(name).read_text(encoding="utf-8")


def harmless_json(values: Any) -> str:
    """JSON that ends no script element, whatever it holds.

    >>> harmless_json("</script>")
    '"\\\\u003c/script\\\\u003e"'
    """
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def inline(figure: Figure) -> str:
    """The drawing as an element of a page, with what it shows as its label."""
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", figure.svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(figure.says)}"', 1)
