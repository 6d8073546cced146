"""The glossary as a document: ``python docs/terms.py`` writes docs/glossary.md anew."""

from __future__ import annotations

import textwrap
from pathlib import Path

from core.foundation.glossary import GLOSSARY

FILE = Path(__file__).resolve().with_name("glossary.md")
HEAD = """# Glossary

The terms of the field and of the paper, as pages, commands and documents use them; in the app, the
page *Glossary*. Written from core/foundation/glossary.py by `make docs`: edit that instead.
"""


def current() -> str:
    """The text of docs/glossary.md as of today."""
    lines = [HEAD]
    for one in GLOSSARY:
        also = f" Also: {', '.join(one.words)}." if one.words else ""
        more = f" [More]({one.more})." if one.more else ""
        said = f'- <a id="{one.slug}"></a>**{one.term}**: {one.meaning}{also}{more}'
        lines.append(
            textwrap.fill(
                said, 100, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False
            )
        )
    return "\n".join([lines[0], *lines[1:], ""])


if __name__ == "__main__":
    FILE.write_text(current(), encoding="utf-8")
