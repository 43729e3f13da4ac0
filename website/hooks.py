"""What mkdocs calls: adds the pages that are made from the code, and lets links of the repository lead to them."""

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
LINKS = {  # of pages to files that are no pages themselves, so that they work on GitHub, too
    r"configs/(\w+)\.py": r"reference/presets.md#\1",
    r"notebooks/(\w+)\.py": r"notebooks/\1.md",
    "notebooks": "notebooks/index.md",
    r"CONTRIBUTING\.md": "contributing.md",
    r"CHANGELOG\.md": "changelog.md",
    r"CITATION\.cff": "cite.md",
}
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
    """Let links to files of the repository lead to their pages."""
    up = "../" * page.file.src_uri.count("/")
    for file, target in LINKS.items():
        markdown = re.sub(rf"\]\(\.\./{file}\)", rf"]({up}{target})", markdown)
    return markdown
