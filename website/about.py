"""Pages for the files that stand at the top of a repository: contributing, changelog, citation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

CITATION = """# Cite us

{message}

```bibtex
{software}

{article}
```

Cite the recordings that you use, and the model whose configuration you took, too: every publication is linked where
[its data](data.md) are described, and a checkpoint remembers the address, the commit and the hash of its recordings
(`model.data_info.source`).
"""


def pages(root: Path) -> dict[str, str]:
    """Make the pages, by their names."""
    contributing, changes, citation = (
        (root / name).read_text(encoding="utf-8") for name in ("CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff")
    )
    return {
        "contributing.md": contributing.replace("](docs/", "]("),
        "changelog.md": changes.replace("](docs/", "]("),
        "cite.md": _citation(yaml.safe_load(citation)),
    }


def _citation(cited: Mapping[str, Any]) -> str:
    """How to cite, from the fields of CITATION.cff."""
    (article,) = cited["references"]
    authors = " and ".join(f"{one['family-names']}, {one['given-names']}" for one in article["authors"])
    software = {
        "title": cited["title"],
        "author": f"{{{cited['authors'][0]['name']}}}",
        "version": cited["version"],
        "license": cited["license"],
    }
    paper = {"title": article["title"], "author": authors} | {
        name: article[name] for name in ("journal", "year", "doi")
    }
    return CITATION.format(
        message=cited["message"],
        software=_entry("software", "openretina_jax", software),
        article=_entry("article", "openretina", paper),
    )


def _entry(kind: str, key: str, fields: Mapping[str, Any]) -> str:
    lines = (f"  {name:7} = {{{value}}}," for name, value in fields.items())
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])
