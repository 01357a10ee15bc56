"""The pages before the naming page itself, in its languages: the one that asks for the password, and the locked one."""

import json
from functools import cache
from importlib.resources import files
from pathlib import Path

STATIC = Path(str(files("selfsort.labelling.server").joinpath("static")))
LANGUAGES = ("en", "de", "fr", "es", "zh")


def words_for(accepted: str) -> dict[str, str]:
    """Return the words of both pages in the browser's favourite language among `LANGUAGES`, otherwise in English.

    `accepted` is the header Accept-Language (RFC 9110, 12.5.4); unreadable parts of it are ignored.
    """
    wanted = sorted(map(_weighed, accepted.split(",")), reverse=True, key=lambda part: part[0])
    return _words(next((tag for weight, tag in wanted if weight > 0 and tag in LANGUAGES), "en"))


def _weighed(part: str) -> tuple[float, str]:
    tag, _, weight = part.strip().lower().partition(";q=")
    try:
        return float(weight or 1), tag.partition("-")[0]
    except ValueError:
        return 0.0, ""


@cache
def _words(language: str) -> dict[str, str]:
    catalogue = json.loads((STATIC / "text" / f"{language}.json").read_text("utf-8"))
    return {"lang": language} | {key: text for key, text in catalogue.items() if key.startswith(("login.", "locked."))}


def login_page(words: dict[str, str], *, wrong: bool) -> str:
    """Return the page that asks for the password, and says whether the last one was wrong."""
    error = f'<p class="error" id="wrong">{words["login.wrong"]}</p>' if wrong else ""
    return _filled("login.html", words | {"wrong": error})


def locked_page(words: dict[str, str]) -> str:
    """Return the page for visitors without the key."""
    return _filled("locked.html", words)


def _filled(file: str, words: dict[str, str]) -> str:
    page = (STATIC / file).read_text("utf-8")
    for key, text in words.items():
        page = page.replace(f"{{{{{key}}}}}", text)
    return page
