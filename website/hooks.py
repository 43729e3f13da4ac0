"""What mkdocs calls: adds the pages that are made from the code, and lets links of the repository lead to them."""

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from website import about, api, commands, notebooks, settings  # noqa: E402  (the package is found from here on)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made from the code."""
    pages = {
        **about.pages(ROOT),
        **api.pages(),
        **commands.pages(),
        **settings.pages(ROOT),
        **notebooks.pages(ROOT / "notebooks", ROOT / config.extra["notebooks"]),
    }
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Let links to configurations lead to the page that explains them."""
    up = "../" * page.file.src_uri.count("/")
    return re.sub(r"\]\(\.\./configs/(\w+)\.py\)", rf"]({up}reference/presets.md#\1)", markdown)
