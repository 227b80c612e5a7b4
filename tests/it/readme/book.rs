//! README.md and docs/: their sections, and the examples in these.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A fenced block.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// The heading above it.
    pub(crate) section: String,
    /// The word behind the fence.
    pub(crate) info: String,
    pub(crate) text: String,
}

impl Block {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.text.lines().map(str::to_owned).collect()
    }

    /// Of a console: each command with what it prints.
    pub(crate) fn commands(&self) -> Vec<(String, String)> {
        let mut commands: Vec<(String, String)> = Vec::new();
        for line in self.text.lines() {
            match (line.strip_prefix("$ "), commands.last_mut()) {
                (Some(command), _) => commands.push((command.to_owned(), String::new())),
                (None, Some((_, output))) => push_line(output, line),
                (None, None) => panic!("a console begins with \"$ \": {line}"),
            }
        }
        commands
    }
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// A file of this repository for people to read, by its path from the top.
pub(crate) struct Page {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A page, by its path from the top of the repository.
pub(crate) fn page(path: &str) -> Page {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = fs::read_to_string(file).unwrap_or_else(|why| panic!("{path}: {why}"));
    Page {
        path: path.to_owned(),
        text,
    }
}

/// README.md, then those of `docs/` by name.
pub(crate) fn pages() -> Vec<Page> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let entries = fs::read_dir(docs).expect("failed to read docs/");
    let files = entries.map(|entry| PathBuf::from(entry.unwrap().file_name()));
    let mut names: Vec<_> = files
        .filter(|file| file.extension().is_some_and(|kind| kind == "md"))
        .map(|file| file.display().to_string())
        .collect();
    names.sort();
    let mut pages = vec![page("README.md")];
    pages.extend(names.iter().map(|name| page(&format!("docs/{name}"))));
    pages
}

/// A heading with the lines below it, up to the next heading of any level.
pub(crate) struct Section {
    pub(crate) heading: String,
    level: usize,
    text: String,
}

/// Cuts a page at its headings.
pub(crate) fn cut(page: &Page) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut fenced = false;
    for line in page.text.lines() {
        fenced ^= line.starts_with("```");
        let title = line.trim_start_matches('#');
        let level = line.len() - title.len();
        if level > 0 && !fenced {
            sections.push(Section {
                heading: title.trim().to_owned(),
                level,
                text: String::new(),
            });
        } else {
            let section = sections.last_mut();
            let section = section.unwrap_or_else(|| panic!("{} begins without title", page.path));
            push_line(&mut section.text, line);
        }
    }
    assert!(!fenced, "{}: a block without end", page.path);
    sections
}

/// The sections of all pages. Each heading stands once, so that a test finds its examples by that alone.
fn sections() -> Vec<Section> {
    let sections: Vec<_> = pages().iter().flat_map(cut).collect();
    let mut observed = BTreeSet::new();
    for Section { heading, .. } in &sections {
        assert!(observed.insert(heading), "two headings \"{heading}\"");
    }
    sections
}

/// All blocks, in order.
pub(crate) fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    for section in sections() {
        let mut open: Option<Block> = None;
        for line in section.text.lines() {
            match (&mut open, line.strip_prefix("```")) {
                (Some(_), Some("")) => blocks.extend(open.take()),
                (Some(block), _) => push_line(&mut block.text, line),
                (None, Some(info)) => {
                    open = Some(Block {
                        section: section.heading.clone(),
                        info: info.to_owned(),
                        text: String::new(),
                    });
                }
                (None, None) => {}
            }
        }
    }
    blocks
}

pub(crate) fn section(name: &str) -> Vec<Block> {
    let mut section = blocks();
    section.retain(|block| block.section == name);
    assert!(!section.is_empty(), "no example under \"{name}\"");
    section
}

/// The prose and tables under a heading, with everything below it.
pub(crate) fn text_of(heading: &str) -> String {
    let sections = sections();
    let mut from = sections.iter().skip_while(|found| found.heading != heading);
    let first = from.next();
    let first = first.unwrap_or_else(|| panic!("no heading \"{heading}\""));
    let below = from.take_while(|section| section.level > first.level);
    let below: String = below.map(|section| section.text.as_str()).collect();
    first.text.clone() + &below
}

/// A section's blocks, read one after the other.
pub(crate) struct Book(std::vec::IntoIter<Block>);

impl Book {
    pub(crate) fn of(name: &str) -> Self {
        Self(section(name).into_iter())
    }

    #[track_caller]
    pub(crate) fn next(&mut self, info: &str) -> Block {
        let block = self.0.next().expect("one more example");
        assert_eq!(block.info, info, "{}", block.text);
        block
    }

    pub(crate) fn is_read(&self) -> bool {
        self.0.as_slice().is_empty()
    }
}

/// Replaces in one pass, so that nothing is replaced twice.
pub(crate) fn replace(text: &str, words: &[(String, String)]) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        if let Some((old, new)) = words.iter().find(|(old, _)| rest.starts_with(old.as_str())) {
            result += new;
            rest = &rest[old.len()..];
        } else {
            result.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    result
}
