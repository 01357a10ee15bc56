"""The commands take shards, tars and Parquet files, as they take a folder."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from commands import Cli
from refusals import KMEANS, check_sentence, read_csv
from samples import kinds, pictures
from shards import write_tar


def encoded() -> list[bytes]:
    found = []
    for pixels in pictures(18, 16):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        found.append(stream.getvalue())
    return found


@pytest.fixture(params=["tar", "parquet"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A pattern of two shards of nine pictures."""
    folder, data, labels = tmp_path / "shards", encoded(), [f"kind {kind}" for kind in kinds(18)]
    folder.mkdir()
    for shard in range(2):
        rows = range(9 * shard, 9 * shard + 9)
        if request.param == "tar":
            files = [each for i in rows for each in ((f"{i:02d}.png", data[i]), (f"{i:02d}.cls", labels[i]))]
            write_tar(folder / f"{shard}.tar", files)
        else:
            pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
            images = [{"bytes": data[i], "path": f"{i:02d}.png"} for i in rows]
            table = pa.table({"image": images, "label": [labels[i] for i in rows]})
            pq.write_table(table, folder / f"{shard}.parquet", row_group_size=4)
    return str(folder / f"{{0..1}}.{request.param}")


@pytest.fixture
def run(cli: Cli, tmp_path: Path, source: str) -> Path:
    assert cli("fit", source, "--out", tmp_path / "run", *KMEANS, "--account", tmp_path / "account.csv").code == 0
    return tmp_path / "run"


def test_pictures_in_shards_are_fitted_predicted_evaluated_and_sorted(
    cli: Cli, tmp_path: Path, source: str, run: Path
) -> None:
    assert [row["outcome"] for row in read_csv(tmp_path / "account.csv")] == ["used"] * 18
    assert json.loads((run / "run.json").read_text())["data"]["source"] == source
    assert cli("predict", run, source, "--out", tmp_path / "table.csv").code == 0
    assert [row["id"] for row in read_csv(tmp_path / "table.csv")] == [f"{i:02d}.png" for i in range(18)]
    assert cli.json("evaluate", run, source)["of_training"]
    assert sum(cli.json("sort", run, source, "--out", tmp_path / "sorted", "--copy")["folders"].values()) == 18
    check_sentence(cli("sort", run, source, "--out", tmp_path / "links").err, "not separate files")


def test_a_shard_that_is_gone(cli: Cli, tmp_path: Path, source: str, run: Path) -> None:
    Path(source.replace("{0..1}", "1")).unlink()
    check_sentence(cli("report", run).err, ("names 2 shards, but 1 of them", "--images"))


@pytest.mark.slow
def test_pictures_in_shards_are_audited_and_named(cli: Cli, tmp_path: Path, source: str, run: Path) -> None:
    assert cli("audit", source, "--out", tmp_path / "audit").code == 0
    assert cli.json("label", run, "--groups", "3", "--simulate", source, "--answers", "3")["given"] == 3
    assert cli("report", run).code == 0
