"""The page that the person sees when the browser comes back."""

from __future__ import annotations

import html

STYLE = """\
:root { color-scheme: light dark; font: 17px/1.5 system-ui, sans-serif }
body { display: grid; place-items: center; min-height: 100vh; margin: 0; background: light-dark(#f4f5f7, #16181c) }
main { box-sizing: border-box; width: min(27rem, 92vw); padding: 2.2rem; border-radius: 14px; text-align: center;
  overflow-wrap: anywhere; background: light-dark(#fff, #23262c); box-shadow: 0 8px 30px rgb(0 0 0 / .12) }
i { display: grid; place-items: center; width: 3.2rem; height: 3.2rem; margin: auto; border-radius: 50%; color: #fff;
  font: 700 1.6rem/1 system-ui, sans-serif; background: #c2410c }
i.well { background: #15803d }
h1 { margin: 1rem 0 .4rem; font-size: 1.4rem }
p { margin: 0 }
small { display: block; margin-top: 1.6rem; color: light-dark(#6b7280, #9aa2ae) }
"""


def page(title: str, words: str, *, went_well: bool) -> bytes:
    """One message; both texts may hold anything."""
    sign, kind = ("✓", "well") if went_well else ("!", "badly")
    return f"""\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)} · flux2-mcp</title>
<style>{STYLE}</style>
<main>
<i class="{kind}" aria-hidden="true">{sign}</i>
<h1>{html.escape(title)}</h1>
<p>{html.escape(words)}</p>
<small>flux2-mcp on this computer</small>
</main>
</html>
""".encode()
