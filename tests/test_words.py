"""One word for one thing: no class name means two things, and what the glossary names is in the code."""

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = sorted([*ROOT.glob("src/**/*.py"), *ROOT.glob("papers/*.py")])


def test_no_class_name_is_used_twice() -> None:
    homes = defaultdict(list)
    for path in FILES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(str(path.relative_to(ROOT)))
    assert len(homes) > 100 and {name: places for name, places in homes.items() if len(places) > 1} == {}


def test_what_the_glossary_names_is_there() -> None:
    rows = re.findall(r"^\|.*\| (.*) \|$", (ROOT / "docs/glossary.md").read_text(encoding="utf-8"), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([\w/.-]+)`", row)}
    code = "\n".join(path.read_text(encoding="utf-8") for path in FILES)
    missing = {name for name in named if not _is_there(name, code)}
    assert len(named) > 40 and missing == set()


def _is_there(name: str, code: str) -> bool:
    if name.endswith((".js", "/")):
        return any(ROOT.glob(f"src/selfsort/**/{name.rstrip('/')}"))
    return (
        re.search(rf"(?<!\w){re.escape(name.removeprefix('--').rpartition('.')[2].rpartition('/')[2])}(?!\w)", code)
        is not None
    )
