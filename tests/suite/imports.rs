//! Imports between the modules of one directory, read from the source.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module with the other modules of its directory that it uses.
pub struct Module {
    /// Path below `crate`, such as `http::api::publish`.
    pub name: String,
    pub uses: BTreeSet<String>,
}

impl Module {
    /// Reads all modules of `src/{directory}`.
    pub fn all_of(directory: &str) -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = BTreeMap::new();
        collect(&root, &root.join(directory), &mut files);
        assert!(!files.is_empty(), "there is no src/{directory}");
        let names: BTreeSet<String> = files.keys().cloned().collect();
        files
            .iter()
            .map(|(name, text)| Self { name: name.clone(), uses: uses(name, text, &names) })
            .collect()
    }
}

fn collect(root: &Path, folder: &Path, sources: &mut BTreeMap<String, String>) {
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            collect(root, &path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.insert(name_of(root, &path), fs::read_to_string(&path).unwrap());
        }
    }
}

fn name_of(root: &Path, path: &Path) -> String {
    let relative: PathBuf = path.strip_prefix(root).unwrap().with_extension("");
    let mut parts: Vec<_> = relative.iter().map(|part| part.to_str().unwrap()).collect();
    if parts.last() == Some(&"mod") {
        parts.pop();
    }
    parts.join("::")
}

/// Returns the modules among `names` that the module `name` uses outside its tests.
fn uses(name: &str, text: &str, names: &BTreeSet<String>) -> BTreeSet<String> {
    let mut parts = text.split("#[cfg(test)]\n");
    let code = parts.next().unwrap().to_owned();
    // Code may follow other items under `#[cfg(test)]`.
    let code =
        parts.take_while(|part| !part.contains("mod tests {")).fold(code, |all, part| all + part);
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let code: String = code.lines().filter(is_code).map(|line| line.to_owned() + "\n").collect();
    // A visibility is not an import.
    let code = code.replace("pub(in crate::", "pub(in ");
    let mut paths = Vec::new();
    for (index, _) in code.match_indices("use ") {
        if index == 0 || code[..index].ends_with(['\n', ' ']) {
            let end = code[index..].find(';').map_or(code.len(), |end| index + end);
            flatten("", code[index + 4..end].trim(), &mut paths);
        }
    }
    // Paths in expressions. Imports, which end in `::` before a group, are read above.
    let starts = code.match_indices("crate::").chain(code.match_indices("super::"));
    for (index, _) in starts.filter(|(index, _)| !code[..*index].ends_with("::")) {
        let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        let end = code[index..].find(|c| !is_path(c)).map_or(code.len(), |end| index + end);
        if !code[..end].ends_with("::") {
            paths.push(code[index..end].to_owned());
        }
    }
    let modules = paths.iter().filter_map(|path| resolve(name, path, names));
    modules.filter(|module| module != name).collect()
}

/// Splits `a::{b, c::{d, e}}` into `a::b`, `a::c::d` and `a::c::e`.
fn flatten(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let Some((head, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap().trim();
        let path = format!("{prefix}{path}");
        paths.push(path.trim_end_matches("::self").to_owned());
        return;
    };
    let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
    let (mut depth, mut start) = (0, 0);
    for (index, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !inner[start..index].trim().is_empty() {
                    flatten(&format!("{prefix}{head}"), inner[start..index].trim(), paths);
                }
                start = index + 1;
            }
            _ => {}
        }
    }
}

/// Returns the module of `names` that contains the item `path`, as used in the module `name`.
fn resolve(name: &str, path: &str, names: &BTreeSet<String>) -> Option<String> {
    let (mut base, mut path) = (name.to_owned(), path);
    if let Some(rest) = path.strip_prefix("crate::") {
        (base, path) = (String::new(), rest);
    } else if let Some(rest) = path.strip_prefix("self::") {
        path = rest;
    } else {
        while let Some(rest) = path.strip_prefix("super::") {
            base = base.rsplit_once("::").map_or(String::new(), |(parent, _)| parent.to_owned());
            path = rest;
        }
    }
    let mut candidate = if base.is_empty() { path.to_owned() } else { format!("{base}::{path}") };
    loop {
        if names.contains(&candidate) {
            return Some(candidate);
        }
        candidate = candidate.rsplit_once("::")?.0.to_owned();
    }
}

/// Returns the names of the modules that `from` uses, directly or indirectly.
fn reached_from<'a>(from: &'a Module, modules: &'a [Module]) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut pending: Vec<&str> = from.uses.iter().map(String::as_str).collect();
    while let Some(name) = pending.pop() {
        if reached.insert(name) {
            let module = modules.iter().find(|module| module.name == name);
            pending.extend(module.iter().flat_map(|module| module.uses.iter().map(String::as_str)));
        }
    }
    reached
}

/// Returns the import cycles of `modules`, each a set of modules that use each other.
pub fn cycles(modules: &[Module]) -> Vec<Vec<String>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> = modules
        .iter()
        .map(|module| (module.name.as_str(), reached_from(module, modules)))
        .collect();
    let mut cycles: BTreeSet<Vec<String>> = BTreeSet::new();
    for (name, others) in &reached {
        let cycle: Vec<String> = reached
            .iter()
            .filter(|(other, reached_back)| others.contains(*other) && reached_back.contains(name))
            .map(|(other, _)| (*other).to_owned())
            .collect();
        if !cycle.is_empty() {
            cycles.insert(cycle);
        }
    }
    cycles.into_iter().collect()
}

#[test]
fn grouped_imports_and_cycles_are_detected() {
    let names: BTreeSet<String> =
        ["a", "a::b", "a::b::c", "a::d"].map(str::to_owned).into_iter().collect();
    let read =
        |name: &str, text: &str| Module { name: name.to_owned(), uses: uses(name, text, &names) };
    let b = read("a::b", "use crate::a::{d::{self, X}, other};\nuse c::Y;\n");
    assert_eq!(Vec::from_iter(&b.uses), ["a", "a::b::c", "a::d"]);
    let c = read("a::b::c", "fn f() {\n    super::super::d::g();\n}\n");
    assert_eq!(Vec::from_iter(&c.uses), ["a::d"]);
    let grouped = read("a::d", "use crate::a::{b::X};\n");
    assert_eq!(Vec::from_iter(&grouped.uses), ["a::b"]);
    let d = read("a::d", "//! use crate::a::b;\nfn f(x: crate::a::b::X) {}\n");
    assert_eq!(Vec::from_iter(&d.uses), ["a::b"]);
    let a = read("a", "pub use d::Z;\n");
    let found = cycles(&[a, b, c, d]);
    assert_eq!(found, [["a", "a::b", "a::b::c", "a::d"].map(str::to_owned).to_vec()]);
}
