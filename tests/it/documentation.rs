//! The documentation is true: generated pages are current, links lead somewhere, commands work.

mod commands;
mod generated;
mod links;

use std::path::{Path, PathBuf};

/// The repository.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Every page, relative to the repository.
fn pages() -> Vec<PathBuf> {
    let fixed = ["README.md", "SECURITY.md", "CHANGELOG.md", "tests/README.md"].map(PathBuf::from);
    let mut pages = Vec::from(fixed);
    for folder in ["docs", "deploy"] {
        collect(Path::new(folder), &mut pages);
    }
    assert!(pages.len() > 15, "only {pages:?} were found: the search is broken");
    pages
}

fn collect(folder: &Path, pages: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(Path::new(ROOT).join(folder)).expect("a folder") {
        let path = folder.join(entry.expect("readable").file_name());
        if Path::new(ROOT).join(&path).is_dir() {
            collect(&path, pages);
        } else if path.extension().is_some_and(|kind| kind == "md") {
            pages.push(path);
        }
    }
}

fn text_of(page: &Path) -> String {
    let path = Path::new(ROOT).join(page);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A code block with its language.
struct Block<'a> {
    language: &'a str,
    lines: Vec<&'a str>,
}

/// The code blocks of a page, in order. A block in a list is indented as its item is.
fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut open: Option<Block<'_>> = None;
    for line in text.lines() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(language), None) => open = Some(Block { language, lines: Vec::new() }),
            (None, Some(block)) => block.lines.push(line),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a code block is not closed");
    blocks
}

#[test]
fn the_first_pages_stay_short() {
    for (page, limit) in [("README.md", 200), ("tests/README.md", 60), ("SECURITY.md", 15)] {
        let lines = text_of(Path::new(page)).lines().count();
        assert!(lines <= limit, "{page} has {lines} lines, more than {limit}");
    }
}
