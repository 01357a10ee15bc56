"""An audit's page for a person's decisions: the audit's own file, with a script and a style that add the buttons."""

import re
from pathlib import Path
from typing import Any

from selfsort.audit.folder import Choices
from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.labelling.server.image_files import ImageFile, ImageFiles

_PAGE = "audit.html"
_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)
_LINKS = (
    '<link rel="stylesheet" href="/page.css"><link rel="stylesheet" href="/static/audit.css">'
    '<script type="module" src="/static/audit.js"></script>'
)


class AuditReview:
    """An audit in a folder, the pictures that were audited, and the decisions about them.

    Raises
    ------
    UserError
        If the folder holds no audit, or one that is damaged or has no page of this version; also from the methods.

    """

    def __init__(self, folder: Path, images: ImageSet):
        self.choices = Choices(folder)
        self._files = ImageFiles(images)
        self._places = {name: place for place, name in enumerate(images.ids)}
        try:
            page = (folder / _PAGE).read_text("utf-8")
        except (OSError, ValueError) as error:
            raise UserError(f"{str(folder / _PAGE)!r} cannot be read: audit again.") from error
        found = _STYLE.search(page)
        if found is None or "data-picture" not in page:
            raise UserError(f"{str(folder / _PAGE)!r} shows no pictures to decide about, or is too old: audit again.")
        self.style = found[1]
        self.page = _STYLE.sub(_LINKS, _POLICY.sub("", page, count=1), count=1)

    def state(self) -> dict[str, Any]:
        """Return the numbers of the pictures that are left out, and how many are kept."""
        left_out = self.choices.left_out()
        return {"left_out": left_out, "kept": len(self.choices.ids) - len(left_out)}

    def choose(self, number: int, kept: bool) -> dict[str, Any] | None:
        """Keep a picture, or leave it out, and return the state; None if no picture has this number."""
        if not 0 <= number < len(self.choices.ids):
            return None
        self.choices.choose(number, kept)
        return self.state()

    def original(self, number: int) -> ImageFile | None:
        """Return a picture's own file; None if no picture has this number, or the file is not a picture."""
        name = self.choices.ids[number] if 0 <= number < len(self.choices.ids) else None
        return None if name not in self._places else self._files.original(self._places[name])
