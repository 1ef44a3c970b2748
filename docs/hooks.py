"""What mkdocs does beside its plugins: the site is made of docs/ and of the pages it links to.

README, changelog, cards and measurements stay where they are read in the repository; a page that is
linked to joins the site under its path there, the README as the home page, and so does a linked
file. A link to a folder leads to its README; if it has none, its text stays.
"""

import re
from pathlib import Path
from posixpath import dirname, normpath, relpath

ROOT = Path(__file__).parents[1]
START = ("README.md", "README.zh.md", "CHANGELOG.md", "CONTRIBUTING.md")
LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]+)?\)")
ASSET = re.compile(r"<(?:link|script|img|iframe)\b[^>]*?(?:href|src)=\"?(?:https?:)?//[^\s>\"]+")
HOME = {"README.md": "index.md"}


def site_path(path):
    """Path in the repository -> path in the site."""
    return HOME.get(path, path.removeprefix("docs/"))


def repository_path(path):
    """The inverse of `site_path`."""
    for own, shown in HOME.items():
        if path == shown:
            return own
    return f"docs/{path}" if (ROOT / "docs" / path).exists() else path


def find_target(page, link):
    """Where a link of a page leads, as a path in the repository; None: nowhere in the site."""
    target = normpath(f"{dirname(page)}/{link}" if dirname(page) else link)
    if (ROOT / target).is_dir():
        target += "/README.md"
    return target if (ROOT / target).is_file() else None


def on_files(files, config):
    from mkdocs.structure.files import File

    waiting = [repository_path(f.src_uri) for f in files.documentation_pages()] + list(START)
    known = set()
    while waiting:
        page = waiting.pop()
        if page in known or not (ROOT / page).exists():
            continue
        known.add(page)
        if files.get_file_from_path(site_path(page)) is None:
            path = str(ROOT / page)
            files.append(File.generated(config, site_path(page), abs_src_path=path))
        if page.endswith(".md"):
            text = (ROOT / page).read_text(encoding="utf8")
            waiting += filter(None, (find_target(page, link) for _, link, _ in LINK.findall(text)))
    return files


def on_page_markdown(markdown, page, config, files):
    own = repository_path(page.file.src_uri)

    def to_site(match):
        text, link, anchor = match.groups()
        target = find_target(own, link)
        if target is None:
            return text
        link = relpath(site_path(target), dirname(page.file.src_uri) or ".")
        return f"[{text}]({link}{anchor or ''})"

    # GitHub reads Markdown in <details> anyway, and a table right after a comment.
    markdown = markdown.replace("<details>", '<details markdown="1">')
    markdown = re.sub(r"^(<!-- /?[\w-]+ -->)$", r"\n\1\n", markdown, flags=re.M)
    return LINK.sub(to_site, markdown)


def on_post_build(config):
    """RAISES PluginError: a page would fetch something from the network."""
    from mkdocs.exceptions import PluginError

    for page in sorted(Path(config.site_dir).rglob("*.html")):
        found = ASSET.search(page.read_text(encoding="utf8"))
        if found and 'rel="canonical"' not in found[0]:
            raise PluginError(f"{page.name} would fetch {found[0]}")
