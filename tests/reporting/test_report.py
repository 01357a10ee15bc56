import base64
import dataclasses
import hashlib
import io
import math
import re

import numpy as np
import pytest
from PIL import Image

from axe import violations
from html_pages import Page
from selfsort.clustering.class_count import ClassCount
from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.evaluation.certificate import Certificate, NamedPredictions, between, certify
from selfsort.evaluation.certificate import percent as share
from selfsort.evaluation.draw import SampleDraw, most_doubtful
from selfsort.evaluation.group_quality import Comparison, GroupQuality
from selfsort.evaluation.protocol import Labelled, evaluate_clusters, evaluate_names
from selfsort.reporting.gallery import percent
from selfsort.reporting.pages import printable
from selfsort.reporting.report import ReportData, write_report

HISTORY = [{"epoch": e, "loss": 1 / e, "effective_rank": 4.0, "class_entropy": 0.9} for e in range(1, 6)]


def report_data(n=60, k=4, channels=3, seed=0, shape=(8, 8), **changes) -> ReportData:
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (n, *shape, channels), np.uint8)
    probabilities = random.dirichlet(np.full(k, 0.3), n).astype(np.float32)
    data = ReportData(
        title="Flowers",
        config={"method": "simclr", "source": "/photos", "seed": 3, "minutes": 2.5, "params": {"n_classes": k}},
        images=ImageSet(images, tuple(f"folder/{i:04d}.jpg" for i in range(n))),
        embedding=random.normal(size=(n, 5)).astype(np.float32),
        probabilities=probabilities,
        clusters=probabilities.argmax(1),
        history=[],  # its curves take most of the time of a page
    )
    return dataclasses.replace(data, **changes)


def render(data: ReportData, tmp_path, **options) -> tuple[str, Page]:
    write_report(data, tmp_path / "report.html", map_kind="pca", **options)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    return html, Page(html)


def strips(html: str, cluster: int) -> list[list[str]]:
    """Read the alt texts of a cluster's three strips from the page."""
    section = html.split(f'id="cluster-{cluster}"')[1].split("</section>")[0]
    return [re.findall(r' alt="([^"]*)"', strip) for strip in section.split("<h4>")[1:]]


class TestPage:
    def test_is_self_contained(self, tmp_path):
        html, page = render(report_data(skipped=[("a", "b")], warnings=["Careful."]), tmp_path)
        assert not re.search(r"https?://|//\w", re.sub(r"base64,[\w+/=]+", "", html))
        assert not page.all("script") and "javascript:" not in html and not re.search(r"\son\w+=", html)
        for tag, attributes in page.tags:
            for name in ("src", "srcset", "href"):
                if name in attributes:
                    assert attributes[name].startswith(("data:", "#")), (tag, name)
            assert "style" not in attributes  # the policy would drop it

    def test_policy_allows_the_style_and_nothing_else(self, tmp_path):
        _, page = render(report_data(), tmp_path)
        (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
        (style,) = page.styles
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert policy["content"].startswith(f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'")

    def test_works_on_phones_and_for_screen_readers(self, tmp_path):
        _, page = render(report_data(), tmp_path)
        assert page.all("meta", name="viewport") and page.all("html", lang="en") and len(page.all("h1")) == 1
        assert all(image["alt"] for image in page.all("img"))
        targets = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
        assert {link["href"][1:] for link in page.all("a")} <= targets
        assert len(targets) == sum("id" in attributes for _, attributes in page.tags)

    def test_pictures_are_pictures(self, tmp_path):
        _, page = render(report_data(n=6, shape=(40, 200), history=HISTORY), tmp_path)
        assert sum("over 5 epochs" in image["alt"] for image in page.all("img")) == 3  # the loss and both gauges
        for image in page.all("img"):
            content = base64.b64decode(image["src"].split("base64,")[1])
            with Image.open(io.BytesIO(content)) as picture:
                picture.load()
                if "width" in image:
                    assert picture.size == (200, 40)
                    assert (int(image["width"]), int(image["height"])) == (112, 22)

    @pytest.mark.slow
    def test_same_seed_same_page(self, tmp_path):
        assert render(report_data(), tmp_path)[0] == render(report_data(), tmp_path)[0]
        assert render(report_data(), tmp_path)[0] != render(report_data(), tmp_path, random_state=1)[0]

    def test_replaces_an_earlier_report_and_survives_a_bad_place(self, tmp_path):
        (tmp_path / "report.html").write_text("old")
        assert "Flowers" in render(report_data(), tmp_path)[0]
        assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]
        with pytest.raises(UserError, match="Cannot write"):
            write_report(report_data(n=4, k=2), tmp_path / "report.html" / "x.html", map_kind="pca")

    def test_tsne_is_the_default_map(self, tmp_path):
        write_report(report_data(n=20), tmp_path / "r.html")
        assert "t-SNE of all 20 pictures" in Page((tmp_path / "r.html").read_text(encoding="utf-8")).text


def test_no_rule_of_axe_is_broken_and_no_printed_page_is_half_empty(tmp_path, browser):
    stability = agreement = Comparison(0.71, 0.12, 0.34, 0.05)
    quality = GroupQuality("clear", "They are clear.", agreement, stability, 9.0, (1,), (2,), (20, 0, 31, 9))
    data = report_data(n=120, quality=quality, skipped=[("a", "b")], warnings=["Careful."])
    render(data, tmp_path)
    page = browser.new_page(bypass_csp=True)
    page.goto((tmp_path / "report.html").as_uri())
    assert violations(page) == []
    printed = page.pdf(format="A4")
    page.close()
    assert printed.count(b"/Type /Page\n") <= 5, "six where clusters are not cut"


class TestContent:
    def test_headline(self, tmp_path):
        data = report_data(skipped=[("x.jpg", "truncated")], warnings=["Epoch 3: all pictures look alike."])
        _, page = render(data, tmp_path)
        assert "60 pictures from /photos, sorted into 4 clusters by simclr in 2 min." in page.text
        assert "Warning. Epoch 3: all pictures look alike." in page.text
        assert "x.jpg truncated" in page.text and "n_classes 4" in page.text
        assert "mean anything" not in page.text  # they were not judged

    def test_findings_without_labels(self, tmp_path):
        agreement = Comparison(0.71, 0.12, 0.34, 0.05)
        stability = Comparison(0.52, 0.2, 0.3, 0.04)
        quality = GroupQuality("clear", "They are clear.", agreement, stability, 9.0, (1,), (2,), (20, 0, 31, 9))
        count = ClassCount(3, 2, 4, [(2, 0.5), (3, 0.6), (4, 0.59), (5, 0.2)], True, "About 3 groups.")
        html, page = render(report_data(quality=quality, class_count=count), tmp_path)
        said = "They are clear. Group 1 holds hardly any pictures. Group 2 holds more than half of all pictures"
        assert page.text.count(said) == 2 and "About 3 groups." in page.text  # at the top and beside its figures
        for row in ("These clusters 0.71 0.52", "shuffled features 0.12", "Gaussian cloud 0.34", "pixels 0.05 0.04"):
            assert row in page.text
        assert "highest at 3; 2 to 4 are nearly as good" in html
        _, named = render(report_data(quality=quality, names=("a", "b", "c", "d")), tmp_path)
        assert "Do the names mean anything? They are clear. Group b holds hardly any pictures." in named.text

    def test_one_section_for_each_cluster_with_its_size(self, tmp_path):
        data = report_data(k=7)
        html, page = render(data, tmp_path)
        assert page.clusters() == [f"cluster-{k}" for k in range(7)]
        for cluster, size in enumerate(np.bincount(data.clusters, minlength=7)):
            assert f"Cluster {cluster} {size} picture{'' if size == 1 else 's'}, " in page.text
            assert [len(strip) for strip in strips(html, cluster)] == [min(12, size)] * 3

    def test_strips_against_a_slow_reference(self, tmp_path):
        data = report_data(n=200, k=3)
        html, _ = render(data, tmp_path)
        for cluster in range(3):
            members = [i for i in range(200) if data.clusters[i] == cluster]
            centre = sum(data.embedding[i].astype(float) for i in members) / len(members)
            near = sorted(members, key=lambda i: np.linalg.norm(data.embedding[i] - centre))
            lead = {i: data.probabilities[i, cluster] - sorted(data.probabilities[i])[-2] for i in members}
            typical, at_random, borderline = strips(html, cluster)
            assert typical == [data.images.ids[i] for i in near[:12]]
            assert borderline == [data.images.ids[i] for i in sorted(members, key=lead.get)[:12]]
            assert len(set(at_random)) == 12 and set(at_random) <= {data.images.ids[i] for i in members}
            assert at_random != typical

    def test_the_second_best_cluster_is_named(self, tmp_path):
        probabilities = np.array([[0.5, 0.1, 0.4], [0.2, 0.5, 0.3], [0.0, 0.0, 1.0]], np.float32)
        data = report_data(n=3, k=3, probabilities=probabilities, clusters=np.array([0, 1, 2]))
        _, page = render(data, tmp_path)
        assert "or 2 (40 %)" in page.text and "or 2 (30 %)" in page.text and "or 0 (0 %)" in page.text

    def test_names_are_escaped(self, tmp_path):
        evil = "<script>alert(1)</script>\"'&"
        ids = (evil, "a\nb\u202e\udcff.jpg", "{{ 7*7 }}", "🌻", *(str(i) for i in range(8)))
        data = report_data(n=12, k=2)
        data = dataclasses.replace(
            data,
            title=evil,
            images=ImageSet(data.images.images, ids),
            config={evil: evil, "group": {evil: [evil]}},
            skipped=[(evil, evil)],
            warnings=[evil],
        )
        html, page = render(data, tmp_path)
        assert "<script" not in html and not page.all("script")
        assert {evil, r"a\nb\u202e\udcff.jpg", "{{ 7*7 }}", "🌻"} <= {image["alt"] for image in page.all("img")}
        assert page.text.count(evil) >= 7

    def test_at_most_200_skipped_files_are_listed(self, tmp_path):
        _, page = render(report_data(skipped=[(f"bad-{i}", "truncated") for i in range(1234)]), tmp_path)
        assert "1,234 files could not be read" in page.text and "The first 200 of them" in page.text
        assert sum(text.startswith("bad-") for text in page.texts) == 200


def evaluated(**changes) -> dict:
    """Make a result of `selfsort evaluate` with evaluation/metrics.py and evaluation/probes.py."""
    row = {"precision": 0.75, "recall": 0.5, "f1": 0.6}
    clustering = {"accuracy": 0.934, "nmi": 0.8, "ami": 0.79, "ari": 0.77, "n": 50, "n_unlabelled": 10}
    clustering["per_class"] = [
        {"name": "rose", "n": 30, "cluster": 1, **row},
        {"name": "<b>", "n": 20, "cluster": 0, **row},
    ]
    clustering["per_class"].append({"name": "tulip", "n": 0, "cluster": None, **row})
    clustering["confusion"] = [[1, 29, 0], [15, 0, 5], [0, 0, 0]]
    clustering["mapping"] = {"0": "<b>", "1": "rose", "2": None}
    probe = {"kind": "knn", "accuracy": 0.88, "n_train": 40, "n_test": 10}
    return {"clustering": clustering, "silhouette": 0.25, "probe": probe, "source": "labelled/"} | changes


class TestEvaluation:
    def test_tables_and_matches(self, tmp_path):
        html, page = render(report_data(k=3, evaluation=evaluated()), tmp_path)
        assert "Compared with the labels of labelled/" in page.text
        assert "Accuracy after matching 93.4 % NMI 0.800 AMI 0.790 ARI 0.770" in page.text
        assert "Pictures with a label 50 Without a label 10 Silhouette 0.250" in page.text
        assert "rose 30 1 75.0 % 50.0 % 60.0 %" in page.text and "tulip 0 – 75.0 %" in page.text
        assert "(knn) Figure Value Accuracy 88.0 % Training pictures 40 Test pictures 10" in page.text
        assert [f"matched with class {name}" in page.text for name in ("rose", "<b>", "None")] == [True, True, False]
        assert page.all("img", alt="Confusion matrix of 3 classes and 3 clusters")
        assert "The accuracy is after matching" in page.text and "The silhouette sees only" in page.text
        assert "Without labels there is no accuracy" not in page.text

    def test_without_labels_there_is_a_silhouette_only(self, tmp_path):
        evaluation = evaluated(clustering=None, probe=None, silhouette=float("nan"))
        _, page = render(report_data(evaluation=evaluation), tmp_path)
        assert "Measured without labels on labelled/. Clusters Figure Value Silhouette –" in page.text
        assert "Without labels there is no accuracy" in page.text and "NMI 0" not in page.text

    def test_the_headline_is_of_the_training_pictures(self, tmp_path):
        others = evaluated(of_training=False)
        html, page = render(report_data(k=3, evaluation=others), tmp_path)
        assert "not those that the run was trained on" in page.text
        assert "accuracy after matching" not in page.text and "Accuracy after matching 93.4 %" in page.text
        own = evaluated()
        own["clustering"]["accuracy"] = 0.512
        _, page = render(report_data(k=3, evaluation=others, training_evaluation=own), tmp_path)
        assert "accuracy after matching 51.2 %" in page.text and "Accuracy after matching 93.4 %" in page.text

    def test_purity_where_clusters_outnumber_classes(self, tmp_path):
        found = evaluated()
        found["clustering"]["purity"] = 0.977
        assert "Purity" not in render(report_data(k=3, evaluation=found), tmp_path)[1].text
        found["clustering"]["mapping"] |= {"3": None}
        assert "as clusters outnumber classes 97.7 %" in render(report_data(k=3, evaluation=found), tmp_path)[1].text

    def test_what_evaluate_writes_can_be_shown(self, tmp_path):
        from selfsort.evaluation.metrics import clustering_scores, silhouette
        from selfsort.evaluation.probes import probe

        data, labels = report_data(n=80, k=5), np.arange(80) % 4 - 1
        found = {
            "clustering": clustering_scores(labels, data.clusters, label_names=("a", "b", "c")).to_json(),
            "silhouette": silhouette(data.embedding, data.clusters),
            "probe": probe("knn", data.embedding, labels, data.embedding, labels).to_json(),
        }
        _, page = render(dataclasses.replace(data, evaluation=found), tmp_path)
        assert "Pictures with a label 60 Without a label 20" in page.text and page.text.count("matched with class") == 3


def certificate(names, target=None, second=None) -> Certificate:
    """Certify names, three quarters of which are right; the last one was never checked."""
    predicted = np.append(np.arange(400) % (len(names) - 1), len(names) - 1)
    confidence = np.append(np.linspace(0, 1, 400), 0.5)
    draw = SampleDraw.make([f"{place}.png" for place in range(401)], most_doubtful(1 - confidence), 0)
    draw.order[draw.order == 400] = draw.order[-1]
    draw.order[-1] = 400
    right = {place: names[predicted[place]] if place % 4 else "no name" for place in draw.order[:80].tolist()}
    return certify(NamedPredictions(tuple(names), predicted, confidence), draw, right, target=target, second=second)


class TestNames:
    names = ("rose", "<b>", "tulip $x$", "weed")

    def test_names_replace_numbers(self, tmp_path):
        data = report_data(names=self.names)
        html, page = render(data, tmp_path)
        for number, name in enumerate(self.names):
            size = int((data.clusters == number).sum())
            assert f"{name} {size} pictures, " in page.text
        assert "each given one of 4 names by simclr" in page.text and "names in use 4" in page.text
        assert (
            not re.search(r"Cluster \d", page.text)
            and "or rose (" in page.text
            and "<b>" not in html.split("<main>")[1]
        )
        assert page.clusters() == [f"cluster-{k}" for k in range(4)]
        assert page.all("img", alt="PCA map of 60 pictures, coloured and marked by name")
        assert "Names were given to groups" in page.text and "Clusters are not classes" not in page.text

    def test_are_compared_with_labels(self, tmp_path):
        data = report_data(names=self.names)
        labels = Labelled(data.embedding, np.arange(60) % 3 - 1, ("rose", "lily"))
        named = evaluate_names(labels, data.clusters, self.names)
        evaluation = evaluate_clusters(labels, data.clusters) | {"named": named, "source": "x"}
        _, page = render(dataclasses.replace(data, evaluation=evaluation), tmp_path)
        roses = ((data.clusters == 0) & (labels.labels == 0)).sum()
        found = percent(roses / 40).replace("\xa0", " ")
        assert f"Names against labels Label Pictures Found (recall) Precision All 40 {found}" in page.text
        assert f"accuracy by name {100 * roses / 40:.1f} %" in page.text
        assert "accuracy after matching" not in page.text.split("Evaluation")[0]


class TestCertificate:
    names = ("rose", "<b>", "tulip", "weed")

    def test_is_shown_first_and_in_words(self, tmp_path):
        found = certificate(self.names, target=0.5)
        html, page = render(report_data(names=self.names, certificate=found), tmp_path)
        text = page.text.replace("\xa0", " ")
        assert text.index("How many names are right") < text.index("Map and sizes")
        assert found.sentence in text and found.rejection.sentence in text
        low, high = math.floor(100 * found.accuracy.low), math.ceil(100 * found.accuracy.high)
        assert f"names right, 95 % sure {low}–{high} %" in text
        for row in found.per_class[:-1]:
            shown = f"{row.name} {between(row)} {share(row.estimate)} {between(row.recall)} {row.n} {row.pictures}"
            assert shown in text
        assert "weed not checked – – 0 1" in text
        assert "Nothing on this page says" not in text and "rests only on the pictures that were checked" in text

    def test_older_certificates_and_second_persons(self, tmp_path):
        found = certificate(self.names)
        before = dataclasses.replace(
            found, right=None, per_class=tuple(dataclasses.replace(row, recall=None) for row in found.per_class)
        )
        _, page = render(report_data(names=self.names, certificate=before), tmp_path)
        row = before.per_class[0]
        text = page.text.replace("\xa0", " ")
        assert f"rose {between(row)} {share(row.estimate)} – {row.n} {row.pictures}" in text
        said = {place: "weed" for place in range(401)}
        both = certificate(self.names, second=said)
        _, page = render(report_data(names=self.names, certificate=both), tmp_path)
        assert both.second.sentence in page.text.replace("\xa0", " ")

    def test_bars_are_where_the_intervals_are(self, tmp_path):
        found = certificate(self.names)
        _, page = render(report_data(names=self.names, certificate=found), tmp_path)
        bars = [tag for tag in page.all("rect") if tag.get("class") == "sure"]
        assert len(bars) == 3 == len([tag for tag in page.all("rect") if tag.get("class") == "seen"])
        for bar, row in zip(bars, found.per_class, strict=False):
            ends = float(bar["x"]), float(bar["x"]) + float(bar["width"])
            assert ends == pytest.approx((100 * row.low, 100 * row.high), abs=0.02)

    def test_everything_checked(self, tmp_path):
        predictions = NamedPredictions(("rose", "lily"), np.arange(4) % 2, np.full(4, 0.5))
        draw = SampleDraw.make("abcd", np.zeros(4, bool), 0)
        found = certify(predictions, draw, {place: predictions.names[place % 2] for place in range(4)})
        _, page = render(report_data(k=2, names=("rose", "lily"), certificate=found), tmp_path)
        text = page.text.replace("\xa0", " ")
        assert "All 4 pictures were checked: 100.0 % of the names are right." in text
        assert "names right, 95 % sure 100 %" in text and "rose 100.0 % 100.0 % 100.0 % 2 2" in text
        bars = [tag for tag in page.all("rect") if tag.get("class") == "sure"]
        assert all(float(bar["x"]) + float(bar["width"]) <= 100.001 and float(bar["width"]) > 0 for bar in bars)

    def test_without_a_certificate_the_page_says_how_to_make_one(self, tmp_path):
        _, page = render(report_data(), tmp_path)
        assert not page.all("h2", id="certificate") and "selfsort certify" in page.text


class TestExtremes:
    def test_two_clusters_grey_pictures_and_little_known(self, tmp_path):
        data = report_data(n=2, k=2, channels=1, clusters=np.array([0, 1]), history=[], config={})
        _, page = render(data, tmp_path)
        assert page.clusters() == ["cluster-0", "cluster-1"] and "1 picture, 50.0 % of all" in page.text
        assert not page.all("h2", id="training") and not page.all("h2", id="evaluation")

    def test_empty_clusters_say_so(self, tmp_path):
        _, page = render(report_data(k=5, clusters=np.full(60, 3)), tmp_path)
        assert len(page.clusters()) == 5 and page.text.count("No picture fell into this cluster.") == 4
        assert "clusters in use 1 of 5" in page.text

    def test_a_collapsed_and_broken_embedding(self, tmp_path):
        embedding = np.ones((60, 5), np.float32)
        embedding[7] = np.nan
        history = [{"epoch": 1, "loss": np.nan}, {"epoch": 2}]
        _, page = render(report_data(embedding=embedding, history=history), tmp_path)
        assert len(page.clusters()) == 4 and not page.all("h2", id="training")

    @pytest.mark.slow
    def test_hundreds_of_clusters_stay_small(self, tmp_path):
        data = report_data(n=3000, k=400, shape=(64, 64))
        html, page = render(data, tmp_path)
        assert len(html) < 10e6
        sizes = np.bincount(data.clusters, minlength=400)
        assert len(page.clusters()) == 300 and "Of 400 clusters the 300 largest are shown" in page.text
        shown = [int(name.removeprefix("cluster-")) for name in page.clusters()]
        assert min(sizes[shown]) >= max(np.delete(sizes, shown)) and shown == sorted(shown)
        assert len(page.all("table", **{"class": "sizes"})) == 1 and page.text.count(" %") > 400


def test_printable_shows_what_does_not_print():
    assert printable("a\tb\x00\x7f\u2028") == r"a\tb\x00\x7f\u2028"
    assert printable("👩\u200d🌾 日本 ñ") == "👩\u200d🌾 日本 ñ"


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_browser_shows_the_report_on_a_phone(phone, tmp_path, scheme):
    long_name = "a-very-long-file-name-without-any-place-to-break" * 6
    long_names = tuple(f"{long_name[:90]}-{number}" for number in range(4))
    data = report_data(n=80, title=long_name, warnings=[long_name], skipped=[(long_name, long_name)], names=long_names)
    data = dataclasses.replace(data, certificate=certificate(long_names, target=0.5))
    data = dataclasses.replace(data, config={**data.config, long_name: long_name})
    write_report(data, tmp_path / "report.html", map_kind="pca")
    page = phone(tmp_path / "report.html", scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(244, 243, 239)", "dark": "rgb(17, 20, 23)"}[scheme]
