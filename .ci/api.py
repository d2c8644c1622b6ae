#!/usr/bin/env python3
"""Compares the library's public API with docs/public-api.txt.

    .ci/api.py           compare, and fail if they differ
    .ci/api.py --write   write the file

The API is read from the pages of `cargo doc --no-deps --all-features --lib`: the declaration of each
item, and the signature of each method, constant and implementation. A change of the API needs an
entry in CHANGELOG.md.
"""

import difflib
import html.parser
import pathlib
import sys

FILE = pathlib.Path("docs/public-api.txt")
PAGES = pathlib.Path("target/doc/rcap")
# Implementations that the compiler derives, and those of the standard library for all types.
DERIVED = {"synthetic-implementations-list", "blanket-implementations-list", "implementors-list",
           "synthetic-implementors-list", "deref-methods-list"}


class Page(html.parser.HTMLParser):
    """Collects the texts of declarations and signatures."""

    def __init__(self):
        super().__init__()
        self.texts, self.depth = [], 0
        self.derived, self.traits, self.open = None, None, None

    def handle_starttag(self, tag, attributes):
        if tag in ("br", "wbr", "img", "input", "link", "meta", "hr"):
            return
        attributes = dict(attributes)
        classes = (attributes.get("class") or "").split()
        self.depth += 1
        if attributes.get("id") in DERIVED and self.derived is None:
            self.derived = self.depth
        if attributes.get("id") == "trait-implementations-list":
            self.traits = self.depth
        # The methods of a trait are those of its definition.
        is_known = self.derived is not None or self.traits is not None and tag == "h4"
        is_item = {"item-decl", "code-header", "structfield"} & set(classes)
        if self.open is None and is_item and not is_known:
            self.open = self.depth
            self.texts.append("")
        elif self.open is not None and {"where", "item-spacer"} & set(classes):
            self.texts[-1] += " "

    def handle_endtag(self, tag):
        if self.open == self.depth:
            self.open = None
        if self.derived == self.depth:
            self.derived = None
        if self.traits == self.depth:
            self.traits = None
        self.depth -= 1

    def handle_data(self, data):
        if self.open is not None:
            self.texts[-1] += data


def api():
    lines = []
    for path in sorted(PAGES.rglob("*.html")):
        kind = path.name.split(".")[0]
        if kind not in ("struct", "enum", "trait", "fn", "constant", "macro", "type", "union", "static"):
            continue
        page = Page()
        page.feed(path.read_text())
        name = "::".join([*path.relative_to(PAGES.parent).parts[:-1], path.name.split(".")[1]])
        texts = [" ".join(text.replace("§", "").split()) for text in page.texts]
        lines += [f"{name}: {text}" for text in texts if text]
    return sorted(set(lines))


found = api()
if not found:
    sys.exit(f"{PAGES}: no pages; run cargo doc --no-deps --all-features --lib")
if sys.argv[1:] == ["--write"]:
    FILE.write_text("".join(line + "\n" for line in found))
    sys.exit()
known = FILE.read_text().splitlines()
changes = list(difflib.unified_diff(known, found, "docs/public-api.txt", "the library", lineterm="", n=0))
if changes:
    print("\n".join(changes))
    sys.exit("The public API has changed: run .ci/api.py --write, and describe it in CHANGELOG.md")
print(f"the public API has {len(found)} lines, as in {FILE}")
