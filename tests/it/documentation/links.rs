//! Relative links of the documentation, their anchors, and the paths that it names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::{ROOT, pages, text_of};

#[test]
fn every_link_leads_to_a_file_and_an_anchor() {
    let mut broken = Vec::new();
    let mut seen = 0;
    for page in pages() {
        let text = prose(&text_of(&page));
        for target in targets(&text) {
            seen += 1;
            if let Some(problem) = problem_with(&page, target) {
                broken.push(format!("{}: {target}: {problem}", page.display()));
            }
        }
    }
    assert!(seen > 50, "only {seen} links were found: the search is broken");
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
}

#[test]
fn every_page_below_docs_is_linked_from_the_readme() {
    // The runbooks are linked from the table of alerts.
    let readme = text_of(Path::new("README.md"))
        + &text_of(Path::new("docs/operations.md")).replace("(runbooks/", "(docs/runbooks/");
    let missing: Vec<_> = pages()
        .into_iter()
        .filter(|page| page.starts_with("docs"))
        .filter(|page| !readme.contains(&format!("({})", page.display())))
        .collect();
    assert!(missing.is_empty(), "not linked from README.md: {missing:?}");
}

#[test]
fn every_file_that_the_documentation_names_is_there() {
    let mut missing = Vec::new();
    for page in pages() {
        for path in named_files(&prose(&text_of(&page))) {
            if !Path::new(ROOT).join(&path).exists() {
                missing.push(format!("{}: {path}", page.display()));
            }
        }
    }
    assert!(missing.is_empty(), "files that are not there:\n{}", missing.join("\n"));
}

/// What is wrong with a link on this page, if anything is.
fn problem_with(page: &Path, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let folder = page.parent().expect("a page is in a folder");
    let file = if path.is_empty() { page.to_owned() } else { normal(&folder.join(path)) };
    if !Path::new(ROOT).join(&file).exists() {
        return Some("there is no such file".to_owned());
    }
    if anchor.is_empty() || anchors(&text_of(&file)).contains(anchor) {
        return None;
    }
    Some("there is no such heading".to_owned())
}

/// The path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            assert!(normal.pop(), "{} leads out of the repository", path.display());
        } else {
            normal.push(part);
        }
    }
    normal
}

/// The text without its code blocks.
fn prose(text: &str) -> String {
    let mut inside = false;
    let lines = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The targets of `[text](target)`.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).map(|rest| rest.split(')').next().expect("one"))
}

/// The anchors of the headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut times = BTreeMap::<String, u32>::new();
    let text = prose(text);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|heading| {
            let slug = slug(heading.trim_start_matches('#').trim());
            let count = times.entry(slug.clone()).or_default();
            *count += 1;
            if *count == 1 { slug } else { format!("{slug}-{}", *count - 1) }
        })
        .collect()
}

fn slug(heading: &str) -> String {
    let lower = heading.to_lowercase();
    let kept = lower.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// What is in backticks and looks like a file of the repository.
fn named_files(text: &str) -> impl Iterator<Item = String> {
    const FOLDERS: [&str; 7] =
        ["src/", "tests/", "crates/", "config/", "docs/", "deploy/", "benches/"];
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| FOLDERS.iter().any(|folder| code.starts_with(folder)))
        .filter(|code| !code.contains([' ', '{', '*', '…']))
        .map(str::to_owned)
}
