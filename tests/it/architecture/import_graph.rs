//! Which file of a crate imports which: the paths from `crate`, `self` and `super` in its code.
//!
//! A path counts for the file that defines its item, not for a parent that re-exports it. A
//! parent that names its own child without `self` does not count: that is how a parent puts its
//! children together. Code for tests is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{code, sources};

type ModulePath = Vec<String>;

/// The words before the name of an item.
const DEFINING: [&str; 7] = ["fn", "struct", "enum", "trait", "type", "const", "static"];

#[derive(Default)]
struct SourceFile {
    /// Each imported path with the name that it has in this file.
    imports: Vec<(ModulePath, String)>,
    /// The words and paths of the code, without the imports.
    paths: Vec<ModulePath>,
    definitions: BTreeSet<String>,
}

pub struct ImportGraph {
    files: BTreeMap<ModulePath, SourceFile>,
}

impl ImportGraph {
    pub fn of(root: &Path) -> Self {
        let (mut files, mut only_tests) = (BTreeMap::new(), Vec::new());
        for path in sources(root) {
            let inside = path.strip_prefix(root).expect("below the root").with_extension("");
            let mut module: ModulePath =
                inside.iter().map(|name| name.to_string_lossy().into_owned()).collect();
            if module == ["lib"] {
                module.clear();
            }
            let text = std::fs::read_to_string(&path).expect("source is text");
            let (text, tests) = without_tests(&text);
            only_tests.extend(tests.into_iter().map(|name| joined(&module, &[name])));
            files.insert(module, SourceFile::parse(&text));
        }
        files.retain(|module, _| {
            !only_tests.iter().any(|tests| module.starts_with(tests))
                && module.last().is_none_or(|name| name != "main")
        });
        Self { files }
    }

    /// The groups of files that import each other, directly or through others.
    pub fn circles(&self) -> BTreeSet<BTreeSet<String>> {
        let edges: BTreeMap<_, _> =
            self.files.keys().map(|module| (module, self.imported_by(module))).collect();
        let reached = |from| {
            let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
            while let Some(module) = open.pop() {
                open.extend(edges[module].iter().filter(|to| reached.insert(*to)));
            }
            reached
        };
        let reach: BTreeMap<_, _> = edges.keys().map(|from| (*from, reached(*from))).collect();
        let circle = |(from, targets): (&&ModulePath, &BTreeSet<&ModulePath>)| {
            targets.iter().filter(|to| reach[*to].contains(*from)).map(|to| to.join("/")).collect()
        };
        let circles = reach.iter().map(circle);
        circles.filter(|circle: &BTreeSet<String>| !circle.is_empty()).collect()
    }

    /// The other files whose items this file uses.
    fn imported_by(&self, module: &ModulePath) -> BTreeSet<ModulePath> {
        let SourceFile { imports, paths, .. } = &self.files[module];
        let words: BTreeSet<&String> = paths.iter().map(|path| &path[0]).collect();
        let mut used: Vec<ModulePath> = Vec::new();
        for (path, name) in imports {
            let modules = paths.iter().filter(|used| used.len() > 1 && used[0] == *name);
            used.extend(modules.map(|rest| joined(path, &rest[1..])));
            if name == "*" || name == "_" || words.contains(name) && !self.is_file(module, path) {
                used.push(path.clone());
            }
        }
        used.extend(paths.iter().filter(|path| path.len() > 1).cloned());
        used.retain(|path| ["crate", "self", "super"].contains(&path[0].as_str()));
        let defined = used.iter().filter_map(|path| self.definer(module, path, 0));
        defined.filter(|file| file != module).collect()
    }

    /// The file that defines what a path names, as seen from a module.
    fn definer(&self, module: &ModulePath, path: &[String], depth: u8) -> Option<ModulePath> {
        let (mut file, mut rest) = self.start(module, path)?;
        while let Some(child) = rest.first().map(|name| joined(&file, std::slice::from_ref(name)))
            && self.files.contains_key(&child)
        {
            (file, rest) = (child, &rest[1..]);
        }
        let source = self.files.get(&file)?;
        let Some(name) = rest.first().filter(|name| !source.definitions.contains(*name)) else {
            return Some(file);
        };
        let named =
            source.imports.iter().filter(|(_, imported)| imported == name || imported == "*");
        let found = named.filter(|_| depth < 8).find_map(|(path, imported)| {
            let path = if imported == "*" { joined(path, rest) } else { joined(path, &rest[1..]) };
            self.definer(&file, &path, depth + 1)
                .filter(|found| imported != "*" || self.files[found].definitions.contains(name))
        });
        found.or(Some(file))
    }

    /// The module at which a path starts, and the rest of the path; `None` for other crates.
    fn start<'a>(
        &self,
        module: &ModulePath,
        path: &'a [String],
    ) -> Option<(ModulePath, &'a [String])> {
        let up = path.iter().take_while(|name| *name == "super").count();
        match path.first()?.as_str() {
            "crate" => Some((Vec::new(), &path[1..])),
            "self" => Some((module.clone(), &path[1..])),
            "super" => Some((module[..module.len().checked_sub(up)?].to_vec(), &path[up..])),
            _ => self.is_file(module, path).then(|| (module.clone(), path)),
        }
    }

    /// Whether the path is a file, as seen from a module.
    fn is_file(&self, module: &ModulePath, path: &[String]) -> bool {
        if ["crate", "self", "super"].contains(&path[0].as_str()) {
            return self
                .start(module, path)
                .is_some_and(|(from, rest)| self.files.contains_key(&joined(&from, rest)));
        }
        self.files.contains_key(&joined(module, &path[..1]))
    }
}

impl SourceFile {
    fn parse(text: &str) -> Self {
        let mut file = Self::default();
        let (mut body, mut import) = (String::new(), None::<String>);
        for line in code(text) {
            let line = line.split(" // ").next().expect("one");
            let start = without_visibility(line.trim_start());
            if let Some(tree) = start.strip_prefix("use ") {
                import = Some(tree.to_owned());
            } else if let Some(tree) = &mut import {
                tree.push_str(line.trim());
            } else if !start.starts_with("mod ") {
                body.push_str(line);
                body.push('\n');
            }
            if let Some(tree) = import.take_if(|tree| tree.ends_with(';')) {
                add_imports(tree.trim_end_matches(';'), &[], &mut file.imports);
            }
        }
        file.paths = paths(&body);
        let words: Vec<&str> = body
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .filter(|word| !word.is_empty())
            .collect();
        let defined = words.windows(2).filter(|pair| DEFINING.contains(&pair[0]));
        file.definitions = defined.map(|pair| pair[1].to_owned()).collect();
        file
    }
}

/// Each path of the tree of a `use`, with the name that it binds.
fn add_imports(tree: &str, prefix: &[String], imports: &mut Vec<(ModulePath, String)>) {
    let split = |text: &str| -> ModulePath {
        text.split("::")
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect()
    };
    if let Some((head, rest)) = tree.split_once('{') {
        let prefix = joined(prefix, &split(head));
        let inner = &rest[..rest.rfind('}').expect("the brace is closed")];
        let (mut depth, mut start) = (0, 0);
        for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
            depth += i32::from(c == '{') - i32::from(c == '}');
            if c == ',' && depth == 0 {
                if !inner[start..at].trim().is_empty() {
                    add_imports(&inner[start..at], &prefix, imports);
                }
                start = at + 1;
            }
        }
        return;
    }
    let (path, alias) =
        tree.split_once(" as ").map_or((tree, None), |(path, name)| (path, Some(name)));
    let mut path = joined(prefix, &split(path));
    path.pop_if(|last| last == "self");
    let name = alias.unwrap_or(path.last().expect("a name")).trim().to_owned();
    imports.push((path, name));
}

/// The words of the code; words that `::` connects are one path.
fn paths(body: &str) -> Vec<ModulePath> {
    let mut paths: Vec<ModulePath> = Vec::new();
    let mut rest = body;
    let mut continues = false;
    while let Some(start) = rest.find(|c: char| c.is_alphabetic() || c == '_') {
        let (between, from) = rest.split_at(start);
        let end = from.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(from.len());
        let word = from[..end].to_owned();
        match paths.last_mut() {
            Some(path) if continues && between == "::" => path.push(word),
            _ => paths.push(vec![word]),
        }
        (rest, continues) = (&from[end..], true);
    }
    paths
}

/// The text without items for tests, and the names of the modules among these.
fn without_tests(text: &str) -> (String, Vec<String>) {
    let (mut kept, mut tests) = (String::new(), Vec::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let indent = &line[..line.len() - line.trim_start().len()];
        if !["#[cfg(test)]", "#[cfg(all(test"].iter().any(|start| line.trim().starts_with(start)) {
            kept.push_str(line);
            kept.push('\n');
            continue;
        }
        // The code is formatted: an item ends where a line of its indentation closes it.
        let ends = |line: &&str| {
            line.strip_prefix(indent).is_some_and(|line| {
                !line.starts_with(' ') && (line.ends_with([';', ',', '}']) || line == "}")
            })
        };
        let first = lines.next().unwrap_or_default();
        if let Some(name) =
            first.trim().strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';'))
        {
            tests.push(name.to_owned());
        }
        if !ends(&first) {
            lines.find(ends);
        }
    }
    (kept, tests)
}

fn without_visibility(line: &str) -> &str {
    match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ").map_or(line, |pair| pair.1),
        Some(rest) => rest.trim_start(),
        None => line,
    }
}

fn joined(start: &[String], end: &[String]) -> ModulePath {
    [start, end].concat()
}
