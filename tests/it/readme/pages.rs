//! README.md, docs/ and the other pages beside them as pages: their links lead somewhere, and they are easy to read.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::book::{Page, cut, page, pages, text_of};

/// All pages whose links are followed.
fn linking() -> Vec<Page> {
    let mut all = pages();
    all.extend(["CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"].map(page));
    all
}

/// The lines outside of examples.
fn prose(page: &Page) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    page.text.lines().filter(move |line| {
        let fence = line.starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The targets of a page's links, without those to other sites.
fn links(page: &Page) -> Vec<&str> {
    let mut links = Vec::new();
    for line in prose(page) {
        // What is between backticks is code.
        for text in line.split('`').step_by(2) {
            let targets = text.split("](").skip(1);
            links.extend(targets.filter_map(|rest| Some(rest.split_once(')')?.0)));
        }
    }
    links.retain(|link| !link.contains("://"));
    links
}

/// The anchors of a page, as GitHub makes them of headings.
fn anchors(page: &Page) -> BTreeSet<String> {
    let anchor = |heading: &str| -> String {
        let lower = heading.to_lowercase().replace(' ', "-");
        let kept = |c: &char| c.is_alphanumeric() || "-_".contains(*c);
        lower.chars().filter(kept).collect()
    };
    let sections = cut(page);
    sections.iter().map(|it| anchor(&it.heading)).collect()
}

/// A link's path from the top of the repository.
fn resolve(from: &str, to: &str) -> PathBuf {
    let mut path = PathBuf::from(from);
    if to.is_empty() {
        return path;
    }
    path.pop();
    for part in Path::new(to).components() {
        match part {
            Component::ParentDir => assert!(path.pop(), "{from}: {to} leads out of the repository"),
            part => path.push(part),
        }
    }
    path
}

#[test]
fn each_relative_link_leads_to_a_file_and_a_heading() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut broken = Vec::new();
    for from in linking() {
        for link in links(&from) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let path = resolve(&from.path, path);
            let name = path.to_str().unwrap();
            let leads = root.join(&path).exists()
                && (anchor.is_empty() || anchors(&page(name)).contains(anchor));
            if !leads {
                broken.push(format!("{}: {link}", from.path));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn prose_is_wrapped() {
    const WIDTH: usize = 120;
    let mut long = Vec::new();
    let others = ["CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"].map(page);
    for page in pages().into_iter().chain(others) {
        // A row of a table is one line, however long.
        let lines = prose(&page).filter(|line| !line.starts_with('|'));
        let lines = lines.filter(|line| line.chars().count() > WIDTH);
        long.extend(lines.map(|line| format!("{}: {line}", page.path)));
    }
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn the_readme_is_short() {
    let lines = page("README.md").text.lines().count();
    assert!(lines <= 200, "{lines} lines");
}

#[test]
fn each_module_that_the_architecture_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = text_of("Modules");
    let named: Vec<_> = text
        .split('`')
        .filter(|it| it.starts_with("src/"))
        .collect();
    assert!(named.len() > 20, "{named:?}");
    let gone: Vec<_> = named.iter().filter(|it| !root.join(it).exists()).collect();
    assert!(gone.is_empty(), "{gone:?}");
}

/// The names of the public fields in a source.
fn fields(source: &Path) -> Vec<String> {
    let source = fs::read_to_string(source).unwrap();
    let lines = source.lines().map(str::trim_start);
    let names = lines.filter_map(|it| Some(it.strip_prefix("pub ")?.split_once(": ")?.0));
    let is_field = |it: &&str| it.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    // An event's fields are a node hook's own.
    let fields = names.filter(is_field).filter(|it| *it != "event");
    fields.map(str::to_owned).collect()
}

#[test]
fn each_field_of_the_api_is_described() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let parts = fs::read_dir(src.join("api")).unwrap();
    let sources = parts.map(|part| part.unwrap().path());
    let all: BTreeSet<_> = sources.flat_map(|source| fields(&source)).collect();
    assert!(all.len() > 90, "{all:?}");
    let text = text_of("HTTP API");
    let missing: Vec<_> = all
        .iter()
        .filter(|it| !text.contains(&format!("`{it}`")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
