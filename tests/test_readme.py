"""The commands and the Python of the README and the guide, run as written."""

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from commands import Cli
from samples import kinds, pictures

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `photos/`, `new/` and `labelled/` in it, as the README assumes."""
    for name, seed in (("photos", 0), ("new", 1), ("labelled", 2)):
        for index, (pixels, kind) in enumerate(zip(pictures(12, 24, seed=seed), kinds(12), strict=True)):
            # The photos have labels for simulated annotators; nothing else reads them.
            folder = tmp_path / name / (f"kind-{kind}" if name != "new" else "")
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{index:02d}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_commands_of_the_readme(desk: Path, cli: Cli) -> None:
    commands = [line for block in blocks("sh", README) for line in block.splitlines() if line.startswith("selfsort ")]
    known = {"audit", "views", "fit", "label", "refine", "certify", "report", "predict", "sort", "evaluate"}
    assert {shlex.split(line)[1] for line in commands} == known
    for command in commands:
        words = shlex.split(command, comments=True)
        if words[1] in ("label", "certify"):
            words += ["--simulate", "photos/", *(["--answers", "8"] if words[1] == "label" else [])]
        answer = cli(*words[1:])
        assert answer.code == 0, f"{command}\n{answer.err}"
    assert (desk / "runs/flowers/report.html").stat().st_size > 10_000
    assert len((desk / "predictions.csv").read_text().splitlines()) == 13
    assert len(list((desk / "sorted").glob("*/*.png"))) == 12


@pytest.mark.slow
@pytest.mark.parametrize("document", ["README.md", "docs/guide.md"])
def test_python_of_the_documents(document: str, desk: Path) -> None:
    for block in blocks("python", (ROOT / document).read_text(encoding="utf-8")):
        exec(compile(block, document, "exec"), {})


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^make (\w+)", README, re.MULTILINE)
    assert targets == ["demo", "test"]
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


@pytest.mark.parametrize("document", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda p: p.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


def test_the_example_method_of_the_guide_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new file suffices: it is put beside the others and used by name."""
    from selfsort import methods

    (block,) = blocks("python", (ROOT / "docs/adding-a-method.md").read_text(encoding="utf-8"))
    (tmp_path / "agreeing.py").write_text(block)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    assert "agreeing" in methods.names()
    model = methods.make("agreeing", {"epochs": "2", "n_classes": "3", "batch_size": "16"}).fit(pictures())
    assert model.labels_.shape == (48,) and model.method == "agreeing"
    assert [row["parameter"] for row in methods.parameters("agreeing")][0] == "backbone"
