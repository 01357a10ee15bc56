"""`selfsort audit`, and training without what it leaves out."""

import csv
from pathlib import Path
from typing import Any

import pytest

from audit_samples import photo, resized, save
from refusals import read_csv


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    root = tmp_path / "my photos"
    for seed in range(8):
        save(photo(seed), root / f"kind-{seed % 2}" / f"{seed}.png")
    save(photo(0), root / "kind-1" / "again.png")
    save(resized(photo(1)), root / "kind-1" / "small.png")
    (root / "kind-0" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return root


def test_it_writes_the_page_and_the_table_and_says_so(photo_folder, tmp_path, capsys, cli):
    out = tmp_path / "audit"
    assert cli.run("audit", photo_folder, "--out", out) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert sorted(path.name for path in out.iterdir()) == ["account.csv", "audit.html", "audit.json", "pictures.csv"]
    assert "1 file skipped" in said and "classes: kind-0, kind-1" in said
    assert {row["outcome"] for row in read_csv(out / "account.csv")} == {"used", "left out"}
    assert "11 files" in said and "3 to leave out" in said
    assert f"Next: selfsort fit '{photo_folder}' --audit {out} --out runs/audit" in said.replace("- ", "-")
    with (out / "pictures.csv").open(newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    left_out = {name for name, row in rows.items() if row["kept"] == "no"}
    assert len(rows) == 11
    assert left_out == {"kind-0/broken.jpg", "kind-1/again.png", "kind-1/small.png"}


def test_the_suggested_command_uses_the_same_pictures(tmp_path, capsys, cli):
    for number, part in enumerate(("train", "test") * 3):
        save(photo(number), tmp_path / "both" / part / "kind" / f"{number}.png")
    assert cli.run("audit", tmp_path / "both", "--out", tmp_path / "a", "--split", "train") == 0
    assert "--split train" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(("out", "clean"), [("a", "a"), ("a/b", "a"), ("a", "a/b")])
def test_overlapping_output_folders_are_refused_at_once(out, clean, photo_folder, tmp_path, capsys, cli):
    assert cli.run("audit", photo_folder, "--out", tmp_path / out, "--write-clean", tmp_path / clean) == 1
    assert "choose two folders" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "a").exists()


def test_json(photo_folder, tmp_path, cli):
    clean = tmp_path / "clean"
    found = cli.json(
        "audit",
        photo_folder,
        "--out",
        tmp_path / "audit",
        "--write-clean",
        clean,
        "--keep",
        "near",
    )
    assert (found["command"], found["pictures"], found["kept"], found["rejected"]) == ("audit", 11, 9, 2)
    assert (found["exact"], found["near"], found["blank"], found["groups"]) == (1, 1, 0, 2)
    assert found["unreadable"][0]["id"] == "kind-0/broken.jpg"
    assert found["leaks"] == {"across_splits": 0, "across_labels": 1}
    assert found["clean"] == {"out": str(clean), "pictures": 9}
    assert len(list(clean.rglob("*.png"))) == 9


@pytest.mark.slow
def test_fit_leaves_out_what_the_audit_rejects_and_later_commands_follow(photo_folder, tmp_path, cli):
    audit, run = tmp_path / "audit", tmp_path / "run"
    cli.json("audit", photo_folder, "--out", audit)
    quick = ["--method", "kmeans", "--classes", "2", "--size", "16", "--audit", audit]
    fitted = cli.json("fit", photo_folder, "--out", run, *quick)
    assert fitted["pictures"] == 8 and fitted["skipped"] == []
    ids = {line.split(",")[0] for line in (run / "assignments.csv").read_text().splitlines()[1:]}
    assert ids == {f"kind-{seed % 2}/{seed}.png" for seed in range(8)}
    assert cli.json("report", run)["pictures"] == 8
    named = cli.json("label", run, "--groups", "2", "--simulate", photo_folder, "--answers", "2")
    assert named["pictures"] == 8


def test_fit_says_how_many_are_left_out(photo_folder, tmp_path, capsys, cli):
    cli.json("audit", photo_folder, "--out", tmp_path / "audit")
    words = ["fit", photo_folder, "--out", tmp_path / "run", "--method", "kmeans", "--classes", "2", "--size", "8"]
    assert cli.run(*words, "--audit", tmp_path / "audit") == 0
    assert f"3 pictures left out by {tmp_path / 'audit'}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["audit", "nowhere"], "There is no file, folder or data set 'nowhere'"),
        (["audit", "{photos}", "--out", "{photos}/audit"], "is inside the pictures' folder"),
        (["audit", "{photos}", "--out", "{taken}"], "is not an empty folder"),
        (["audit", "{photos}", "--write-clean", "{taken}"], "is not an empty folder"),
        (["audit", "digits", "--write-clean", "clean"], "not separate files to link to"),
        (["audit", "nowhere", "--write-clean", "clean"], "There is no file, folder or data set 'nowhere'"),
        (["audit", "{photos}", "--split", "test"], "has no split 'test'"),
        (["fit", "{photos}", "--out", "run", "--audit", "{taken}"], "is not an audit"),
        (["fit", "digits", "--out", "run", "--audit", "{audit}"], "does not hold 3 of the 3 pictures to leave out"),
    ],
)
def test_mistakes_get_one_sentence_and_leave_nothing(photo_folder, tmp_path, monkeypatch, capsys, words, sentence, cli):
    monkeypatch.chdir(tmp_path)
    taken = save(photo(1), tmp_path / "taken" / "1.png").parent
    cli.json("audit", photo_folder, "--out", tmp_path / "made")
    before = sorted(path.name for path in tmp_path.iterdir())
    places = {"photos": photo_folder, "taken": taken, "audit": tmp_path / "made"}
    assert cli.run(*(word.format(**places) for word in words)) == 1
    captured = capsys.readouterr()
    assert sentence in captured.err and "Traceback" not in captured.err and captured.err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("source", ["digits", "mnist", "hf:some/set", "photos.zip", "photos.npz"])
def test_links_to_pictures_without_files_are_refused_before_the_audit(source, tmp_path, monkeypatch, capsys, cli):
    def audited(*words: Any, **options: Any) -> None:
        raise AssertionError("the audit ran")

    monkeypatch.setattr("selfsort.audit.audit", audited)
    monkeypatch.chdir(tmp_path)
    if "." in source:
        Path(source).write_bytes(b"")
    before = list(tmp_path.iterdir())
    assert cli.run("audit", source, "--write-clean", "clean") == 1
    assert "not separate files to link to" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == before


def test_an_unknown_reason_is_a_mistake_in_the_command(photo_folder, capsys, cli):
    assert cli.run("audit", photo_folder, "--keep", "ugly") == 2
    assert "ugly" in capsys.readouterr().err
