"""`selfsort certify`, by labels and by a client of its server, and other commands on names and certificates."""

import base64
import csv
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from huggingface_hub import ModelCard
from PIL import Image

import selfsort
from commands import in_a_process, program
from samples import kinds, pictures
from selfsort import methods
from selfsort.data.image_set import ImageSet
from selfsort.data.loading import list_images, load_images
from selfsort.evaluation.certificate import Certificate
from selfsort.labelling.core.session import Targets
from selfsort.labelling.learning.refine import refine
from selfsort.labelling.samples import named_predictions, open_checks
from selfsort.labelling.server.journal import Conflict
from selfsort.labelling.server.service import LabelService
from selfsort.labelling.store import Store

NAMES = ("kind-0", "kind|1", "kind-2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders in which a sixth of the pictures are in a wrong one, so that certificates find errors."""
    root = tmp_path_factory.mktemp("photos")
    for index, (pixels, kind) in enumerate(zip(pictures(60, 16), kinds(60), strict=True)):
        place = root / NAMES[kind if index % 6 else (kind + 1) % 3]
        place.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(place / f"{index:02d}.png")
    return root


@pytest.fixture(scope="module")
def unnamed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "plain"
    methods.make("kmeans", {"n_classes": "4", "device": "cpu"}).fit(load_images(folder, cache=False), run_dir=run)
    return run


@pytest.fixture(scope="module")
def named(unnamed: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learnt the true kinds from a third of its pictures."""
    run = tmp_path_factory.mktemp("runs") / "kinds"
    shutil.copytree(unnamed, run)
    name(run, folder)
    return run


def name(run: Path, folder: Path, seed: int = 0) -> None:
    images = load_images(folder, cache=False)
    truth = np.array([int(image_id[-6:-4]) % 3 for image_id in images.ids])
    weights = (np.random.default_rng(seed).random(60) < 0.3).astype(np.float32)
    targets = Targets(NAMES, np.eye(3, dtype=np.float32)[truth] * weights[:, None], weights)
    shutil.rmtree(run / "named", ignore_errors=True)
    refine(selfsort.load(run), images, targets, frozen=True).save(run / "named")


@pytest.fixture
def run(named: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    copy = tmp_path / "kinds"
    shutil.copytree(named, copy)
    return copy


def truth_of(run: Path, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the predictions and the labels from the class folders."""
    model, images = selfsort.load(run / "named"), load_images(folder, cache=False)
    return np.array(model.names_)[model.labels_], np.array(images.label_names)[images.labels]


class TestByLabels:
    def test_certifies_and_writes(self, run, folder, cli):
        found = cli.json("certify", run, "--budget", 30, "--simulate", folder)
        certificate = found["certificate"]
        assert found["status"] == "complete" and found["done"] == found["budget"] == certificate["checked"] == 30
        predicted, right = truth_of(run, folder)
        assert certificate["accuracy"]["low"] <= (predicted == right).mean() <= certificate["accuracy"]["high"]
        assert [row["name"] for row in certificate["per_class"]] == list(NAMES)
        written = json.loads((run / "named" / "certificate.json").read_text())
        assert Certificate.from_json(written) == Certificate.from_json(certificate)
        assert written["checked_by"] == f"the labels of {folder}" and written["format"] == 2
        assert [path.name for path in (run / "named").iterdir() if path.name.startswith(".")] == []

    def test_everything_checked_is_the_truth(self, run, folder, cli):
        words = ["certify", run, "--budget", 999, "--reject", 0.8, "--simulate", folder]
        certificate = cli.json(*words)["certificate"]
        predicted, right = truth_of(run, folder)
        share = (predicted == right).mean()
        assert 0.6 < share < 1 and certificate["accuracy"] == {"estimate": share, "low": share, "high": share, "n": 60}
        for row in certificate["per_class"]:
            exact = (right[predicted == row["name"]] == row["name"]).mean()
            assert row["low"] == pytest.approx(exact) == pytest.approx(row["high"])
            found = (predicted[right == row["name"]] == row["name"]).mean()
            assert row["recall"]["low"] == pytest.approx(found) == pytest.approx(row["recall"]["high"])
        sure = selfsort.load(run / "named").probabilities_.max(1) >= certificate["rejection"]["threshold"]
        assert sure.mean() == certificate["rejection"]["kept"] and (predicted == right)[sure].mean() >= 0.8

    def test_prints_a_sentence_for_people(self, run, folder, capsys, cli):
        assert cli.run("certify", run, "--budget", 20, "--reject", 0.99, "--simulate", folder) == 0
        shown = capsys.readouterr().out
        assert "have the right name (95 % sure)" in shown and "kind|1" in shown and "even without an error" in shown
        assert "model-card.md" in shown

    def test_the_card_is_complete(self, run, folder, cli):
        found = cli.json("certify", run, "--budget", 30, "--simulate", folder)
        card = (run / "named" / "model-card.md").read_text()
        assert card.startswith("# kinds: a model that names pictures\n") and found["certificate"]["sentence"] in card
        for words in (
            "kind-0, kind\\|1, kind-2",
            "60 pictures (16x16, colour)",
            "method kmeans",
            "## Limits",
            "With the seed 0. No sample was drawn before. Checks: 30 for the model after 0 refinements.",
            "selfsort verify RUN",
            "0 answers",
        ):
            assert words in card
        rows = [line for line in card.splitlines() if line.startswith("| kind")]
        assert len(rows) == 3 and all(len(re.split(r"(?<!\\)\|", row)) == 8 for row in rows)

    def test_hugging_face_reads_its_card(self, run, folder, cli, tmp_path):
        found = cli.json("certify", run, "--budget", 30, "--simulate", folder)["certificate"]
        cli.json("export", run, "--out", tmp_path / "README.md")
        card = ModelCard.load(tmp_path / "README.md")
        assert card.data.library_name == "selfsort" and card.data.pipeline_tag == "image-classification"
        (result,) = card.data.eval_results
        assert result.metric_type == "accuracy" and result.metric_value == round(found["accuracy"]["estimate"], 4)
        assert f"{found['accuracy']['low']:.4f}" in result.metric_name and card.data.model_name == "kinds"
        assert found["sentence"] in card.text and "## How to use it" in card.text and str(tmp_path) not in card.content
        assert str(folder) not in card.content and str(run) not in card.content

    def test_a_card_without_a_certificate_says_so(self, run, cli, tmp_path):
        cli.json("export", run, "--out", tmp_path / "README.md")
        card = ModelCard.load(tmp_path / "README.md")
        assert card.data.eval_results is None and "Nobody has checked it" in card.text and "kind\\|1" in card.text
        (tmp_path / "folder.md").mkdir()
        assert "is a folder" in cli("export", run, "--out", tmp_path / "folder.md").err

    def test_a_card_that_is_gone_says_how_to_get_it(self, run, folder, cli, tmp_path):
        cli.json("certify", run, "--budget", 30, "--simulate", folder)
        (run / "named" / "model-card.md").unlink()
        assert "run `selfsort certify` again" in cli("export", run, "--out", tmp_path / "README.md").err

    def test_the_same_command_takes_the_same_sample(self, run, folder, cli):
        words = ["certify", run, "--budget", 25, "--simulate", folder]
        first = cli.json(*words)
        assert cli.json(*words) == first

    def test_a_smaller_budget_later_keeps_what_labels_said_of_the_same_pictures(self, run, folder, cli):
        more = cli.json("certify", run, "--budget", 40, "--simulate", folder)["certificate"]["sample"]["checks"]
        fewer = cli.json("certify", run, "--budget", 20, "--simulate", folder)["certificate"]["sample"]["checks"]
        assert more[:20] == fewer

    def test_another_model_is_judged_by_the_same_sample(self, run, folder, cli):
        words = ["certify", run, "--budget", 25, "--simulate", folder]
        first = cli.json(*words)["certificate"]["sample"]
        name(run, folder, seed=1)
        assert not (run / "named" / "certificate.json").exists()
        again = cli.json(*words)["certificate"]["sample"]
        assert again["checks"] == first["checks"] and again["earlier"] == 0

    def test_no_other_seed(self, run, folder, cli):
        assert cli("certify", run, "--budget", 5, "--simulate", folder, "--seed", 3).code == 0
        refused = cli("certify", run, "--budget", 5, "--simulate", folder, "--seed", 4)
        assert refused.code == 1 and "drawn with the seed 3 and keeps it" in refused.err
        assert cli("certify", run, "--budget", 5, "--simulate", folder).code == 0


class TestVerify:
    @pytest.fixture
    def certified(self, run, folder, cli) -> Path:
        cli.json("certify", run, "--budget", 30, "--reject", 0.5, "--simulate", folder)
        return run / "named" / "certificate.json"

    def test_repeats_draw_and_calculation(self, run, certified, cli):
        found = cli.json("verify", run)
        assert found["holds"] and len(found["steps"]) == 4 and all(step["holds"] for step in found["steps"])
        said = cli("verify", run)
        assert said.code == 0 and said.out.count("holds   ") == 4 and "only eyes can tell" in said.out

    def test_the_lines_in_the_documentation_draw_the_same(self, run, certified):
        import hashlib

        written = json.loads(certified.read_text())["sample"]
        with open(run / "named" / "assignments.csv", newline="") as file:
            ids = [row["id"] for row in csv.DictReader(file)]
        doubtful = np.unpackbits(np.frombuffer(base64.b64decode(written["doubtful"]), np.uint8), count=len(ids))
        tickets = [hashlib.sha256(f"{written['seed']}/{written['earlier']}/{name}".encode()).digest() for name in ids]
        order = sorted(range(len(ids)), key=tickets.__getitem__)
        queues = [[place for place in order if doubtful[place] == kind] for kind in (0, 1)]
        drawn = [ids[queues[turn % 3 == 2].pop(0)] for turn in range(30)]
        assert drawn == [image_id for image_id, _ in written["checks"]]

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda found: found["accuracy"].update(low=0.99, high=1.0, estimate=1.0), "the right names give"),
            (lambda found: found["sample"].update(seed=1), "the seed 1 draws"),
            (lambda found: found["sample"]["checks"].pop(), "the right names give"),
            (lambda found: found["sample"]["checks"].reverse(), "draws the 30 pictures"),
            (lambda found: found["sample"]["checks"].append(found["sample"]["checks"][0]), "counts once"),
            (lambda found: found["sample"].update(doubtful="AAAAAAAAAAA="), "the doubtful quarter"),
        ],
    )
    def test_finds_what_was_changed(self, run, certified, cli, change, words):
        found = json.loads(certified.read_text())
        change(found)
        found.pop("digest")
        certified.write_text(json.dumps(found))
        refused = cli("verify", run)
        assert refused.code == 1 and "does not hold: " in refused.err and words in refused.err
        assert "DIFFERS  " in refused.out and not json.loads(cli("verify", run, "--json").out)["holds"]

    def test_compares_with_the_store(self, run, folder, cli):
        from selfsort.reporting.card import write_certificate
        from selfsort.reporting.verify import verify_certificate

        predictions, ids = named_predictions(run / "named")
        with closing(Store.open(run)) as store:
            checks, _ = open_checks(store, predictions, ids, 5)
            for number in range(5):
                store.add_check(f"key-{number}", "me", checks.next(), "kind-0", checks.given(checks.next()))
                checks.record(checks.next(), "kind-0")
        write_certificate(run / "named", checks.certificate(), answers=0, checked_by="a person")
        assert [step.holds for step in verify_certificate(run, run / "named")] == [True] * 5
        with closing(Store.open(run)) as store:
            store.undo_check("undo")
        assert [step.holds for step in verify_certificate(run, run / "named")][-1] is False

    def test_needs_a_certificate_that_kept_its_draw(self, run, certified, cli):
        found = {name: value for name, value in json.loads(certified.read_text()).items() if name != "digest"}
        certified.write_text(json.dumps(found | {"sample": None, "format": 1}))
        refused = cli("verify", run)
        assert refused.code == 1 and "was written by a version that did not keep its draw" in refused.err
        certified.unlink()
        refused = cli("verify", run)
        assert refused.code == 1 and "has no certificate yet: make one with `selfsort certify" in refused.err


class TestBadInput:
    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (["--budget", 0], "--budget 0 checks nothing"),
            (["--budget", -5], "--budget -5 checks nothing"),
            (["--reject", 0], "--reject 0 is not a share"),
            (["--reject", 1], "--reject 1 is not a share"),
            (["--reject", "nan"], "--reject nan is not a share"),
            (["--simulate", "digits"], "lacks 60 of the 60 pictures"),
            (["--host", "127.0.0.1"], "give --password"),
            (["--second"], "let the first person start"),
            (["--second", "--simulate", "x"], "leave out --simulate"),
        ],
    )
    def test_one_sentence(self, words, sentence, run, monkeypatch, capsys, cli):
        monkeypatch.delenv("SELFSORT_PASSWORD", raising=False)
        assert cli.run("certify", run, "--no-browser", *words) == 1
        errors = capsys.readouterr().err.splitlines()
        assert len(errors) == 1 and sentence in errors[0]
        assert not (run / "named" / "certificate.json").exists()

    def test_a_run_without_names(self, unnamed, capsys, cli):
        assert cli.run("certify", unnamed) == 1
        assert "has no names to check; name its groups first: selfsort label" in capsys.readouterr().err
        assert not (unnamed / "labels.sqlite").exists()

    def test_pictures_without_a_label(self, run, folder, tmp_path, capsys, cli):
        flat = tmp_path / "flat.npz"
        images = load_images(folder, cache=False)
        np.savez(flat, images=images.images)
        assert cli.run("certify", run, "--simulate", flat) == 1
        assert "has no labels" in capsys.readouterr().err

    def test_labels_that_are_not_names(self, run, folder, monkeypatch, cli):
        images = load_images(folder, cache=False)
        labels = {"weeds": np.zeros(60, int), "few": np.where(np.arange(60) < 59, 0, -1)}

        def listed(source, **options):
            if source not in labels:
                return list_images(source, **options)
            return ImageSet(images.images, images.ids, labels=labels[source], label_names=("weed",))

        monkeypatch.setattr("selfsort.data.loading.list_images", listed)
        refused = cli("certify", run, "--budget", 10, "--simulate", "weeds")
        assert refused.code == 1 and "No label of 'weeds' is one of the names given" in refused.err
        refused = cli("certify", run, "--budget", 60, "--simulate", "few")
        assert refused.code == 1 and "no label for 1 of the pictures drawn, such as" in refused.err

    def test_a_damaged_certificate(self, run, capsys, cli):
        (run / "named" / "certificate.json").write_text('{"format": 1}')
        assert cli.run("report", run, "--map", "pca") == 1
        assert "run `selfsort certify` again" in capsys.readouterr().err


class Server:
    """`selfsort certify` as a process, and a client with its token."""

    def __init__(self, *words: object):
        words = program("certify", *words, "--no-browser")
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines: list[str] = []
        for line in self.process.stdout:
            self.lines.append(line)
            if found := re.search(r"(http://\S+)/\?token=(\S+)", line):
                break
        else:
            raise AssertionError("".join(self.lines))
        self.client = httpx.Client(base_url=found[1], headers={"X-Selfsort-Token": found[2]}, timeout=60)
        self.sent = 0

    def get(self) -> dict:
        return self.client.get("/api/check").raise_for_status().json()

    def post(self, path: str = "/api/checks", **content: object) -> httpx.Response:
        self.sent += 1
        return self.client.post(path, json={"key": f"{os.getpid()}-{id(self)}-{self.sent}", "client": "me", **content})

    def end(self, kill: bool = False) -> str:
        self.client.close()
        self.process.kill() if kill else self.process.send_signal(2)
        rest = self.process.stdout.read()
        self.process.wait()
        self.process.stdout.close()
        return "".join(self.lines) + rest


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    started: list[Server] = []
    yield started
    for server in started:
        if server.process.poll() is None:
            server.end(kill=True)


def seen_first(run: Path) -> int:
    with closing(Store.open(run)) as store:
        return store.checks()[0].picture


def certificate_of(run: Path) -> Certificate:
    return Certificate.from_json(json.loads((run / "named" / "certificate.json").read_text()))


def check_once_more(server: Server, run: Path) -> None:
    """Disagree, as a second person, with the first check."""
    asked = server.get()
    assert asked["second"] and asked["picture"] == seen_first(run) and asked["done"] == 0
    server.post(picture=asked["picture"], name="kind-9").raise_for_status()
    said = server.end()
    assert "A second person looked at 1 of the pictures and disagreed on 1" in said
    assert json.loads((run / "named" / "certificate.json").read_text())["second"]["disagreed"] == 1


class TestByAPerson:
    @pytest.mark.slow
    def test_continues_after_a_kill(self, run, folder, servers, cli):
        predicted, right = truth_of(run, folder)
        servers.append(Server(run, "--budget", 12, "--reject", 0.5))
        asked = servers[0].get()
        seen, budget = [], asked["budget"]
        assert asked["done"] == 0 and asked["certificate"] is None and asked["names"] == list(NAMES)
        for _ in range(5):
            picture = asked["picture"]
            seen.append(picture)
            assert asked["name"] == predicted[picture]
            asked = servers[0].post(picture=picture, name=right[picture].upper()).raise_for_status().json()
        refused = servers[0].post(picture=seen[0], name="kind-0")
        assert refused.status_code == 409 and servers[0].post(picture=asked["picture"], name=" \n").status_code == 422
        assert servers[0].post("/api/refine").status_code == 409
        servers[0].end(kill=True)
        assert certificate_of(run).checked == 5, "from the first check on"

        servers.append(Server(run, "--budget", 12, "--reject", 0.5))
        assert f"Continuing after 5 of {budget} checks." in "".join(servers[1].lines)
        asked = servers[1].get()
        assert asked["done"] == 5 and asked["picture"] not in seen
        undone = servers[1].post("/api/checks/undo").raise_for_status().json()
        assert (undone["picture"], undone["done"]) == (seen.pop(), 4)
        asked = undone
        while asked["picture"] is not None:
            seen.append(asked["picture"])
            asked = servers[1].post(picture=seen[-1], name=str(right[seen[-1]])).raise_for_status().json()
        assert len(set(seen)) == len(seen) == budget
        kept = certificate_of(run)
        assert (
            replace(kept, sample=None) == Certificate.from_json(asked["certificate"])
            and (run / "named" / "model-card.md").exists()
        )
        assert json.loads((run / "named" / "certificate.json").read_text())["checked_by"] == "a person"

        assert servers[1].post("/api/checks/undo").raise_for_status().json()["certificate"]["checked"] == budget - 1
        servers[1].post(picture=seen[-1], name=str(right[seen[-1]])).raise_for_status()
        assert certificate_of(run) == kept
        more = servers[1].post("/api/checks/more", more=3).raise_for_status().json()
        assert (more["budget"], more["done"], more["left"]) == (budget + 3, budget, 60 - budget - 3)
        assert more["picture"] not in seen
        assert servers[1].post("/api/checks/more", more=0).status_code == 422
        said = servers[1].end()
        assert kept.sentence in said and f"Stopped after {budget} of {budget + 3} checks" in said

        again = json.loads(in_a_process("certify", run, "--budget", "12", "--json").out)
        assert again["status"] == "complete" and again["certificate"]["rejection"] is None
        assert again["certificate"]["accuracy"]["estimate"] == kept.accuracy.estimate

        servers.append(Server(run, "--second", "--budget", 2))
        check_once_more(servers[2], run)
        assert cli.json("verify", run)["holds"]

    def test_no_groups_are_made(self, run, folder, monkeypatch):
        for place in (run, run / "named"):
            (place / "points.npz").unlink(missing_ok=True)
        images = load_images(folder, cache=False)
        with closing(Store.open(run)) as store:
            store.put("rounds", [{"round": 1, "after_seq": 0, "names": list(NAMES)}])
            checks, _ = open_checks(store, *named_predictions(run / "named"), 5)
        asked = []
        compute = "selfsort.labelling.server.better_points.BetterPoints.compute"
        monkeypatch.setattr(compute, lambda *given, **more: asked.append(given))
        with closing(LabelService(run, images, checks=checks)) as service:
            service.settle()
            assert service.certification.next()["picture"] is not None and service.next_group("me") is None
            assert service.state()["open_groups"] == 0 and not service.session.groups
        assert not asked

    def test_undo_leaves_the_checks_of_an_earlier_sample_alone(self, run, folder):
        images = load_images(folder, cache=False)
        with closing(Store.open(run)) as store:
            store.add_check("old", "me", 3, "kind-0")
            checks, told = open_checks(store, *named_predictions(run / "named"), 5)
        assert "count only as themselves" in told and checks.done == 0 and checks.known == {3: "kind-0"}
        with closing(LabelService(run, images, checks=checks)) as service:
            with pytest.raises(Conflict, match="no check to take back"):
                service.certification.undo("undo")
            service.certification.add("key", "me", checks.next(), "kind-0")
            service.certification.undo("undo-2")
            assert service.certification.extend("more", 5)["budget"] == 10
            assert service.certification.extend("more", 5)["budget"] == 10, "a key counts once"
        with closing(Store.open(run)) as store:
            assert [check.picture for check in store.checks()] == [3]


class TestNames:
    def test_predictions_have_names(self, run, folder, tmp_path, cli):
        import pyarrow.parquet

        found = cli.json("predict", run, folder, "--out", tmp_path / "p.csv")
        assert found["names"] == list(NAMES) and len(found["clusters"]) == 3
        with open(tmp_path / "p.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        predicted, _ = truth_of(run, folder)
        assert list(rows[0])[:4] == ["id", "cluster", "name", "confidence"]
        assert [row["name"] for row in rows] == predicted.tolist()
        cli.json("predict", run, folder, "--out", tmp_path / "p.parquet")
        table = pyarrow.parquet.read_table(tmp_path / "p.parquet")
        assert table.column_names[:4] == ["id", "cluster", "name", "confidence"]
        assert table["name"].to_pylist() == predicted.tolist()

    def test_says_that_names_are_used_and_can_ignore_them(self, run, folder, tmp_path, capsys, cli):
        assert cli.run("predict", run, folder, "--out", tmp_path / "p.csv") == 0
        assert f"Using the model of the names: {run / 'named'}" in capsys.readouterr().out
        found = cli.json("predict", run, folder, "--out", tmp_path / "p.csv", "--clusters")
        assert found["names"] == [] and len(found["clusters"]) == 4
        assert "name" not in (tmp_path / "p.csv").read_text().splitlines()[0]

    def test_folders_have_names(self, run, folder, tmp_path, cli):
        found = cli.json("sort", run, folder, "--out", tmp_path / "sorted")
        assert set(found["folders"]) == {"kind-0", "kind_1", "kind-2"} and sum(found["folders"].values()) == 60
        assert {path.name for path in (tmp_path / "sorted").iterdir()} == set(found["folders"])
        found = cli.json("sort", run, folder, "--out", tmp_path / "other", "--clusters")
        assert list(found["folders"]) == [f"cluster-{number:02d}" for number in range(4)]

    def test_names_are_compared_with_labels(self, run, folder, capsys, cli):
        found = cli.json("evaluate", run, folder)
        predicted, right = truth_of(run, folder)
        assert found["named"]["accuracy"] == (predicted == right).mean() and found["named"]["n"] == 60
        assert found["named"]["accuracy"] <= found["clustering"]["accuracy"]
        assert json.loads((run / "named" / "evaluation.json").read_text())["named"] == found["named"]
        assert cli.json("evaluate", run, folder, "--clusters")["named"] is None
        assert cli.run("evaluate", run, folder) == 0
        assert f"By name: accuracy {found['named']['accuracy']:.1%}" in capsys.readouterr().out

    @pytest.mark.parametrize(("same", "tables"), [(True, 1), (False, 2)])
    def test_the_same_table_is_shown_once(self, same, tables, run, folder, monkeypatch, cli):
        row = {"name": "rose", "n": 4, "precision": 1.0, "recall": 1.0, "f1": 1.0}
        other = row if same else row | {"precision": 0.5}
        scores = {
            "n": 4,
            "accuracy": 1.0,
            "nmi": 1.0,
            "ami": 1.0,
            "ari": 1.0,
            "per_class": [row],
            "mapping": {"0": "rose"},
        }
        named = {"n": 4, "accuracy": 1.0, "per_class": [other]}
        clusters = {"clustering": scores, "silhouette": None, "probe": None}
        monkeypatch.setattr("selfsort.evaluation.protocol.evaluate_clusters", lambda *_, **__: clusters)
        monkeypatch.setattr("selfsort.evaluation.protocol.evaluate_names", lambda *_: named)
        assert cli("evaluate", run, folder).out.count("precision") == tables

    def test_the_report_shows_names_and_certificate(self, run, folder, tmp_path, cli):
        cli.json("certify", run, "--budget", 30, "--simulate", folder)
        out = tmp_path / "r.html"
        cli.json("report", run, "--out", out, "--map", "pca", "--sheet", tmp_path / "s.png")
        page = out.read_text()
        assert "<h1>kinds</h1>" in page and "How many names are right" in page and "kind|1" in page
        assert not re.search(r"Cluster \d", page)
        cli.json("report", run, "--out", out, "--map", "pca", "--clusters")
        page = out.read_text()
        assert "How many names are right" not in page and "Cluster 3" in page
