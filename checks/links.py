"""Checks the documents: every relative link names a file and, after `#`, a heading of it; the manual's table of contents
lists every page. Links to other sites are not followed."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^(```|~~~)")
LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+)\)")


def main():
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    documents = [ROOT / name for name in names if (ROOT / name).is_file()]
    problems = [problem for document in documents for problem in broken_links(document)]
    problems += unlisted_pages(ROOT / "nix/docs")
    for problem in problems:
        print(problem)
    if not documents or problems:
        sys.exit(f"FAILED: {len(problems)} broken links in {len(documents)} documents")
    print(f"links of {len(documents)} documents are good")


def broken_links(document):
    for number, line in prose(document):
        for target in LINK.findall(line):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (document.parent / path).resolve() if path else document
            where = f"{document.relative_to(ROOT)}:{number}: {target}"
            if not file.exists():
                yield f"{where}: no such file"
            elif anchor and file.suffix == ".md" and anchor not in anchors(file):
                yield f"{where}: no such heading"


def prose(document):
    """The lines outside of code blocks, with their numbers."""
    in_code = False
    for number, line in enumerate(document.read_text().splitlines(), 1):
        if FENCE.match(line.strip()):
            in_code = not in_code
        elif not in_code:
            yield number, line


def anchors(document):
    """The anchors that forges and mdBook derive from headings."""
    headings = (line.lstrip("#").strip() for _, line in prose(document) if re.match(r"#+ ", line))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def unlisted_pages(manual):
    summary = (manual / "SUMMARY.md").read_text()
    for page in sorted(manual.glob("*.md")):
        if page.name != "SUMMARY.md" and f"]({page.name})" not in summary:
            yield f"{page.relative_to(ROOT)}: not in SUMMARY.md"


main()
