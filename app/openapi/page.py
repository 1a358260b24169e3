"""The page at `/docs`: Swagger UI, from the files that the package flask-swagger-ui ships.

Nothing is loaded from anywhere else, and no script stands in the page itself: its policy allows what this server has.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import NamedTuple

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy of the page."""

_BEGIN = b"""\
window.addEventListener("load", () => {
  SwaggerUIBundle({
    url: new URL("v1/openapi.json", document.baseURI).href,
    dom_id: "#swagger-ui",
    deepLinking: true,
    docExpansion: "list",
    defaultModelsExpandDepth: 0,
    validatorUrl: null,
  });
});
"""
PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>The API of Sluice</title>
<link rel="icon" type="image/png" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/begin.js"></script>
</body>
</html>
"""
# The files of the page, and what they are. All others of the package stay where they are.
_KINDS = {
    "begin.js": "text/javascript; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "favicon-32x32.png": "image/png",
}


class PageFile(NamedTuple):
    """A file of the page."""

    content: bytes
    kind: str  # its media type
    tag: str


@cache
def page_file(name: str) -> PageFile | None:
    """Return a file of the page, None where it has none of this name."""
    if name not in _KINDS:
        return None
    content = _BEGIN if name == "begin.js" else files("flask_swagger_ui").joinpath("dist", name).read_bytes()
    return PageFile(content, _KINDS[name], sha256(content).hexdigest()[:32])
