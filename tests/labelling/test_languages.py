"""The page's words: every language has all of them, and the page uses none that the catalogues lack."""

import ast
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import selfsort
from selfsort.labelling.server.web.words import LANGUAGES, STATIC, locked_page, login_page, words_for
from selfsort.spelling import JUNK, JUNK_WORDS

TEXTS = {language: json.loads((STATIC / "text" / f"{language}.json").read_text("utf-8")) for language in LANGUAGES}
ENGLISH = TEXTS["en"]


def scripts(*files):
    """Return the scripts that the page loads, with those that they import."""
    found = {}
    waiting = list(files)
    while waiting:
        file = waiting.pop()
        if file not in found:
            found[file] = (STATIC / file).read_text("utf-8")
            waiting += re.findall(r'from "\./([\w-]+\.js)"', found[file])
    return found


SCRIPTS = scripts("app.js", "theme.js")
PLACE = re.compile(r"\{(\w+)\}")
WORDS = re.compile(r"[^\W\d_]{2,}")
# What is the same in every language: the program's name, keys, formats, and what is typed on a command line.
SAME_EVERYWHERE = {"title", "code", "kbd", "script", "style"}
VOID = {"input", "img", "link", "meta", "br"}
SHOWN = ("alt", "aria-label", "aria-roledescription", "placeholder", "title")


def forms(entry):
    return list(entry.values()) if isinstance(entry, dict) else [entry]


def places(entry):
    return {place for form in forms(entry) for place in PLACE.findall(form)}


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != "en"])
def test_a_catalogue_has_every_key_with_the_same_values_in_it(language):
    texts = TEXTS[language]
    assert list(texts) == list(ENGLISH)
    for key, english in ENGLISH.items():
        assert places(texts[key]) == places(english), key
        assert isinstance(texts[key], dict) == isinstance(english, dict), key
        assert all(form.strip() for form in forms(texts[key])), key


def test_every_plural_has_the_forms_of_its_language():
    for language, texts in TEXTS.items():
        wanted = {"other"} if language == "zh" else {"one", "other"}
        plurals = {key: set(entry) for key, entry in texts.items() if isinstance(entry, dict)}
        assert plurals and set(map(frozenset, plurals.values())) == {frozenset(wanted)}


def test_the_word_for_junk_is_known_in_every_language():
    assert set(JUNK_WORDS) == {texts["junk"] for texts in TEXTS.values()}
    listed = re.search(r"JUNK_WORDS = \[JUNK, (.*?)\]", SCRIPTS["words.js"])
    assert listed and [JUNK, *re.findall(r'"(.*?)"', listed[1])] == list(JUNK_WORDS)


def test_languages_differ():
    """Text that was left in English would be the same in all."""
    for language in set(LANGUAGES) - {"en"}:
        long = [key for key, entry in ENGLISH.items() if len(WORDS.findall(PLACE.sub("", "".join(forms(entry))))) > 2]
        assert not [key for key in long if TEXTS[language][key] == ENGLISH[key]]


class Page(HTMLParser):
    """What a page contains apart from the catalogues' words: its own texts and attributes, and the keys it names."""

    def __init__(self, file):
        super().__init__()
        self.open, self.own, self.keys, self.children = [], [], [], {}
        self.feed((STATIC / file).read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        if self.open:
            self.open[-1][1].append(tag)
        below = []
        if tag not in VOID:
            self.open.append((tag, below, named))
        for name, value in attributes:
            if name == "data-text":
                self.children[value, self.getpos()] = below
            if name.startswith("data-text"):
                self.keys.append(value)
        self.own += [value for name, value in attributes if name in SHOWN and WORDS.search(value or "")]

    def handle_endtag(self, tag):
        if tag not in VOID:
            self.open.pop()

    def handle_data(self, data):
        tag, _, attributes = self.open[-1] if self.open else ("", [], {})
        same = tag in SAME_EVERYWHERE or attributes.get("class") == "brand" or attributes.get("download")
        if WORDS.search(re.sub(r"\{\{[\w.]+\}\}", "", data)) and not same:
            self.own.append(data.strip())


@pytest.mark.parametrize("file", ["index.html", "login.html", "locked.html"])
def test_pages_contain_no_words_of_their_own(file):
    assert Page(file).own == []


def test_keys_of_the_page_exist_and_have_places_for_its_children():
    page = Page("index.html")
    assert set(page.keys) <= set(ENGLISH)
    for (key, where), children in page.children.items():
        wanted = {int(place) for place in places(ENGLISH[key]) if place.isdecimal()}
        assert wanted <= set(range(len(children))), f"{key} in line {where[0]}"


def literals(script):
    """Return the strings of a script, with the parts of templates that are no code, without its comments."""
    code = re.sub(r"^\s*//.*$|\s// .*$", "", script, flags=re.MULTILINE)
    found = re.findall(r'"((?:[^"\\\n]|\\.)*)"', code)
    return found + [PLACE.sub(" ", re.sub(r"\$\{.*?\}", "{x}", text)) for text in re.findall(r"`([^`]*)`", code)]


@pytest.mark.parametrize("file", sorted(SCRIPTS))
def test_scripts_contain_no_sentences(file):
    sentence = re.compile(r"[A-Za-z]{2,} [a-z]{2,}|^[A-Z][a-z]+[.!?:…]? ?$")
    code = re.compile(r"[#\[\]=>-]")  # selectors, fonts, headers, styles
    keys = {"Alt", "Shift", "Key", "Delete", "Enter", "Escape", "Home", "End", "Tab"}  # as browsers call them
    same = {"Deutsch", "English", "selfsort label RUN"}
    found = [text for text in literals(SCRIPTS[file]) if sentence.search(text) and not code.search(text)]
    assert [text for text in found if text.strip() not in keys | same | set(JUNK_WORDS)] == []


def test_keys_of_scripts_exist_and_no_key_is_unused():
    asked, beginnings = set(Page("index.html").keys), set()
    for script in SCRIPTS.values():
        for text in literals(script):
            if text in ENGLISH:
                asked.add(text)
        called = re.findall(r'\bt\((?:[^"`()]*\? )?"([\w.-]+)"', script)
        assert set(called) <= set(ENGLISH)
        beginnings |= {start for start in re.findall(r"`([\w.-]+\.)\$\{", script)}
    unused = [key for key in ENGLISH if key not in asked and not key.startswith((*beginnings, "login.", "locked."))]
    assert unused == []
    assert all(any(key.startswith(start) for key in ENGLISH) for start in beginnings)


def codes():
    """Return the code and the values of every error that a page has words for, as the source raises them."""
    for path in Path(selfsort.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            given = {word.arg: word.value for word in node.keywords} if isinstance(node, ast.Call) else {}
            code = given.pop("code", None)
            if isinstance(code, ast.Constant) and isinstance(code.value, str):
                yield path.name, code.value, set(given)


def test_every_error_with_a_code_has_words_for_its_values():
    found = list(codes())
    assert len(found) > 20
    for file, code, values in found:
        assert f"error.{code}" in ENGLISH, f"{code} in {file}"
        assert places(ENGLISH[f"error.{code}"]) <= values, f"{code} in {file}"
    raised = {f"error.{code}" for _, code, _ in found}
    by_the_page = {"error.taken", "error.answered", "error.no-token", "error.no-password"}
    assert {key for key in ENGLISH if key.startswith("error.")} - raised == by_the_page


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("de-AT,de;q=0.9,en;q=0.5", "de"),
        ("en;q=0.2, zh-CN;q=0.9", "zh"),
        ("it, fr;q=0.3", "fr"),
        ("it", "en"),
        ("de;q=0, es;q=x", "en"),
    ],
)
def test_login_pages_are_in_the_browsers_language(accepted, language):
    words = words_for(accepted)
    for page in (login_page(words, wrong=True), locked_page(words)):
        assert f'<html lang="{language}">' in page and "{{" not in page
    assert TEXTS[language]["login.wrong"] in login_page(words, wrong=True)
    assert TEXTS[language]["login.wrong"] not in login_page(words, wrong=False)
