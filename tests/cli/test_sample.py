"""`selfsort sample`: pictures of every kind, to be named while the rest follow."""

from pathlib import Path

import pytest
from PIL import Image

from commands import Cli
from samples import pictures

FREQUENT, RARE = 200, 8


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with many pictures of one kind and few of another, and a file that is none."""
    drawn = pictures(3 * FREQUENT, 32)
    for kind, count in enumerate((FREQUENT, RARE)):
        folder = tmp_path / "photos" / f"kind-{kind}"
        folder.mkdir(parents=True)
        for number in range(count):
            Image.fromarray(drawn[3 * number + kind]).save(folder / f"{number:03}.png")
    (tmp_path / "photos" / "kind-1" / "broken.png").write_bytes(b"no picture")
    return tmp_path / "photos"


def sampled(cli: Cli, photos: Path, out: Path, *words: object) -> list[str]:
    found = cli.json("sample", photos, "--out", out, "--pictures", 20, "--backbone", "efficientnet-lite0", *words)
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*.png"))
    assert found["drawn"] == len(names) == 20 and found["pictures"] == FREQUENT + RARE
    assert [each["id"] for each in found["skipped"]] == ["kind-1/broken.png"]
    return names


@pytest.mark.slow
def test_rare_kinds_are_drawn_more_often_than_by_chance(cli: Cli, photos: Path, tmp_path: Path) -> None:
    names = sampled(cli, photos, tmp_path / "a")
    assert sum(name.startswith("kind-1/") for name in names) >= 4
    assert (tmp_path / "a" / names[0]).resolve() == photos / names[0]
    assert sampled(cli, photos, tmp_path / "b") == names
    assert sampled(cli, photos, tmp_path / "c", "--seed", 1) != names


@pytest.mark.slow
def test_the_rest_follows_the_names_of_the_sample(cli: Cli, photos: Path, tmp_path: Path) -> None:
    sampled(cli, photos, tmp_path / "few")
    run = tmp_path / "run"
    assert cli.run("fit", tmp_path / "few", "--out", run, "--backbone", "efficientnet-lite0", "--classes", 4) == 0
    assert cli.run("label", run, "--simulate", photos, "--answers", 8) == 0
    assert cli.run("refine", run, "--frozen") == 0
    found = cli.json("evaluate", run, photos)
    assert not found["of_training"]
    assert {each["name"]: each["recall"] for each in found["named"]["per_class"]} == {"kind-0": 1.0, "kind-1": 1.0}


def test_what_is_refused(cli: Cli, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for source, out, reason in (
        (photos, photos / "in", "inside"),
        ("digits", tmp_path / "x", "not separate files to link to"),
        (photos, photos, "not an empty folder"),
    ):
        assert cli.run("sample", source, "--out", out) == 1
        assert reason in " ".join(capsys.readouterr().err.split())
