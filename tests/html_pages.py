"""Pages as the tests read them."""

from html.parser import HTMLParser

VOID = {"meta", "link", "img", "source", "br"}


class Page(HTMLParser):
    """Collects what the tests ask for, and checks that tags are nested properly."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open, self.tags, self.texts, self.styles = [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID and not self.get_starttag_text().endswith("/>"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in {"path", "rect"}:
            assert self.open.pop() == tag

    def handle_data(self, data):
        (self.styles if self.open and self.open[-1] == "style" else self.texts).append(data)

    def all(self, tag, **attributes):
        return [found for name, found in self.tags if name == tag and attributes.items() <= found.items()]

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def clusters(self):
        return [tag["id"] for tag in self.all("section") if tag.get("class") == "card cluster"]
