"""The command `review`, with which a person decides what an audit leaves out."""

from pathlib import Path
from typing import Annotated

import typer

from selfsort.cli.app import app
from selfsort.cli.options import NoBrowser, Port
from selfsort.cli.output import say, shell_words
from selfsort.errors import UserError


@app.command()
def review(
    audit: Annotated[Path, typer.Argument(help="Folder made by `selfsort audit`.")],
    images: Annotated[
        str | None, typer.Option(help="The pictures that were audited, if they have moved.", show_default=False)
    ] = None,
    port: Port = None,
    no_browser: NoBrowser = False,
) -> None:
    """Look through an audit on a local page: enlarge pictures, and keep them or leave them out (saved at once)."""
    from selfsort.audit.folder import read_facts
    from selfsort.data.loading import is_gone, list_images
    from selfsort.labelling.server.audit_review import AuditReview
    from selfsort.labelling.server.serve import serve_audit

    facts = read_facts(audit)
    source = images or str(facts["source"])
    if source == "array" or is_gone(source):
        raise UserError(f"The pictures of this audit are not at {source!r}: give their place with --images.")
    serve_audit(
        AuditReview(audit, list_images(source, **facts.get("options", {}))), port=port, open_browser=not no_browser
    )
    words = shell_words(source, "--audit", audit)
    say(f"Stopped. Next: selfsort fit {' '.join(words)} --out RUN to train without the pictures left out")
