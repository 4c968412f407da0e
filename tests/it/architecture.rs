//! The arrows between the modules: what may know of what.

use std::path::{Path, PathBuf};

use import_graph::ImportGraph;

mod import_graph;

/// Each module with the other modules that it may name. A module without a row may name none.
/// `error`, `clock`, `shutdown` and `ports` are the vocabulary that layers share; `telemetry` is
/// known where requests are reported, `config` where the program is put together.
const ARROWS: [(&str, &[&str]); 15] = [
    ("main", &["cli"]),
    ("cli", &["service", "config", "telemetry", "shutdown"]),
    (
        "service",
        &[
            "http",
            "app",
            "genesys",
            "audit",
            "ports",
            "policy",
            "domain",
            "config",
            "telemetry",
            "shutdown",
            "clock",
            "error",
        ],
    ),
    ("http", &["app", "ports", "domain", "error", "telemetry", "clock"]),
    ("app", &["ports", "policy", "domain", "error", "clock", "shutdown"]),
    ("genesys", &["ports", "policy", "domain", "error", "clock"]),
    ("telemetry", &["ports", "domain", "error", "clock"]),
    ("audit", &["ports", "domain", "error", "clock"]),
    ("ports", &["policy", "domain", "error"]),
    ("error", &["domain"]),
    ("clock", &["policy"]),
    ("config", &["domain"]),
    ("shutdown", &[]),
    ("domain", &[]),
    ("policy", &[]),
];

/// Crates that the pure modules do without: no runtime, no HTTP, no wire format of somebody else.
const NOT_IN_PURE: [&str; 6] = ["tokio", "axum", "http", "reqwest", "tower", "tracing"];

#[test]
fn every_module_names_only_those_that_its_arrows_lead_to() {
    let mut seen = 0;
    for file in sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))) {
        let module = module_of(&file);
        if module == "lib" {
            continue;
        }
        let arrows = ARROWS.iter().find(|(name, _)| *name == module);
        let (_, allowed) = arrows.unwrap_or_else(|| panic!("no arrows are stated for `{module}`"));
        let text = std::fs::read_to_string(&file).expect("source is text");
        for named in named_modules(&text) {
            let at = file.display();
            assert!(
                named == module || allowed.contains(&named),
                "{at}: `{module}` names `{named}`"
            );
            seen += 1;
        }
        if module == "domain" || module == "policy" {
            for name in NOT_IN_PURE {
                let path = format!("{name}::");
                let used = code(&text).any(|line| words_before(line, &path));
                assert!(!used, "{}: `{module}` uses `{name}`", file.display());
            }
        }
    }
    assert!(seen > 100, "only {seen} paths were found: the search is broken");
}

/// What follows `crate::`, or the name of the library in `main`; a list in braces would hide names.
fn named_modules(text: &str) -> impl Iterator<Item = &str> {
    code(text).flat_map(|line| {
        assert!(!line.contains("crate::{"), "write one `use crate::module` a line: {line}");
        let paths = line.split("crate::").skip(1).chain(line.split("attribute_gateway::").skip(1));
        paths.map(|rest| {
            rest.split(|c: char| !c.is_ascii_lowercase() && c != '_').next().expect("one")
        })
    })
}

/// The lines that are no comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// Whether `path` stands in the line, and not as the end of a longer path.
fn words_before(line: &str, path: &str) -> bool {
    line.match_indices(path)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
}

/// `src/http/edge.rs` and `src/http.rs` are of the module `http`.
fn module_of(file: &Path) -> String {
    let inside = file.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).expect("below src");
    let first = inside.components().next().expect("a name").as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

pub fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("readable").path());
    let found = paths.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] });
    found.filter(|path| path.extension().is_some_and(|kind| kind == "rs")).collect()
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["crates/genesys-simulator/src", "crates/gateway-store/src", "src"] {
        let circles = ImportGraph::of(&root.join(folder)).circles();
        assert!(circles.is_empty(), "files of {folder} that import each other: {circles:#?}");
    }
}

#[test]
fn unsafe_code_is_forbidden() {
    let manifest = include_str!("../../Cargo.toml");
    assert!(manifest.contains("[workspace.lints.rust]\nunsafe_code = \"forbid\"\n"), "{manifest}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in ["src", "crates"].into_iter().flat_map(|folder| sources(&root.join(folder))) {
        let text = std::fs::read_to_string(&file).expect("source is text");
        // A lint that is forbidden cannot be allowed again; this says so before the compiler does.
        assert!(!code(&text).any(|line| line.contains("unsafe ")), "{}", file.display());
    }
}
