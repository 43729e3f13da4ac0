"""Pages for the files that stand at the top of a repository: contributing, changelog, citation."""

import re
from pathlib import Path


def pages(root: Path) -> dict[str, str]:
    """Make the pages, by their names."""
    contributing, changes, citation = (
        (root / name).read_text(encoding="utf-8") for name in ("CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff")
    )
    return {
        "contributing.md": contributing.replace("](docs/", "]("),
        "changelog.md": changes.replace("](docs/", "]("),
        "cite.md": _citation(citation),
    }


def _citation(text: str) -> str:
    """How to cite, from the fields of CITATION.cff."""
    fields = dict(re.findall(r"^(?:- )?(\w+): \"?(.*?)\"?$", text.replace("  - ", "").replace("\n  ", "\n"), re.M))
    return f"""# Cite us

{fields["message"]}

```bibtex
@software{{openretina_jax,
  title   = {{{fields["title"]}}},
  author  = {{{{{fields["name"]}}}}},
  version = {{{fields["version"]}}},
  license = {{{fields["license"]}}},
}}

@article{{openretina,
  title   = {{openretina: Collaborative Retina Modelling Across Datasets and Species}},
  journal = {{bioRxiv}},
  year    = {{2025}},
  doi     = {{10.1101/2025.03.07.642012}},
}}
```

Cite the recordings that you use, and the model whose configuration you took, too: every publication is linked where
[its data](data.md) are described, and a checkpoint remembers the address, the commit and the hash of its recordings
(`model.data_info.source`).
"""
