//! The structure of the code: modules use only those before them, files stay small, and
//! `docs/ARCHITECTURE.md` matches the directories.

use crate::imports::{Module, cycles};

use std::fs;
use std::path::{Path, PathBuf};

/// Modules in import order: each uses only the previous ones; `app`, `cli` and `main` may use any.
const MODULES: [&str; 11] = [
    "telemetry",
    "event",
    "wire",
    "limits",
    "access",
    "cluster",
    "journal",
    "hub",
    "source",
    "config",
    "http",
];

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            out.push(path);
        }
    }
}

fn all_sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&root, &mut paths);
    paths
        .into_iter()
        .map(|path| {
            (path.strip_prefix(&root).unwrap().to_owned(), fs::read_to_string(&path).unwrap())
        })
        .collect()
}

#[test]
fn a_module_uses_only_modules_before_it() {
    let top_module = |name: &str| name.split("::").next().unwrap().to_owned();
    let mut uses = 0;
    for module in Module::all_of("") {
        let Some(index) = MODULES.iter().position(|name| *name == top_module(&module.name)) else {
            continue;
        };
        for used in &module.uses {
            uses += 1;
            let (name, used_module) = (&module.name, top_module(used));
            assert!(!["app", "bench", "cli"].contains(&&*used_module), "{name} uses {used}");
            if let Some(used_index) = MODULES.iter().position(|name| *name == used_module) {
                assert!(used_index <= index, "{name} uses {used}, which comes later");
            }
        }
    }
    assert!(uses > 20, "too few imports found");
}

#[test]
fn bench_uses_no_module_of_the_hub_but_config() {
    for (path, text) in all_sources() {
        if path.starts_with("bench") {
            for module in MODULES.iter().filter(|module| **module != "config") {
                assert!(
                    !text.contains(&format!("crate::{module}")),
                    "{} uses {module}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn actix_fjall_and_status_codes_are_used_only_where_allowed() {
    for (path, text) in all_sources() {
        let module = path.iter().next().unwrap().to_str().unwrap();
        if ["event", "wire", "journal", "config"].contains(&module) {
            assert!(
                !text.contains("actix::") && !text.contains("actix_"),
                "{} knows actix",
                path.display()
            );
        }
        if path != Path::new("journal/kv/disk.rs") {
            assert!(!text.contains("fjall::"), "{} knows fjall", path.display());
        }
        // The command line is a client and reads status codes.
        if !["http", "app", "cli"].contains(&module) {
            assert!(!text.contains("StatusCode"), "{} knows statuses", path.display());
        }
    }
}

#[test]
fn calls_of_one_operating_system_are_only_in_platform() {
    const OF_LINUX: [&str; 8] = [
        "/proc/",
        "/sys/fs",
        "target_os",
        "openat2",
        "tcp_user_timeout",
        "process::nice",
        "parent_process_death",
        "os::linux",
    ];
    let mut found = 0;
    for (path, text) in all_sources() {
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let Some(call) = OF_LINUX.iter().find(|call| line.contains(*call)) else { continue };
            found += 1;
            assert!(path.starts_with("platform"), "{} has {call}: {line}", path.display());
        }
    }
    assert!(found >= OF_LINUX.len() - 1, "only {found} calls found");
}

#[test]
fn files_are_short_and_begin_with_a_module_comment() {
    for (path, text) in all_sources() {
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let lines = code.lines().count();
        assert!(lines <= 400, "{} has {lines} lines without its tests", path.display());
        assert!(text.starts_with("//!"), "{} has no module comment", path.display());
        let head = text.lines().take_while(|line| line.starts_with("//!")).count();
        assert!(path.ends_with("lib.rs") || head <= 25, "{} has a long header", path.display());
    }
    let main =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/main.rs")).unwrap();
    assert!(main.lines().count() < 40);
}

/// Parts of `http`; each uses only those after it.
const HTTP_PARTS: [&str; 20] = [
    "probe",
    "server",
    "routes",
    "openapi::document",
    "middleware",
    "api",
    "openapi",
    "resource",
    "ingest",
    "history",
    "peers",
    "extract",
    "state",
    "limits",
    "remote_keys",
    "session_socket",
    "tls",
    "error",
    "outcome",
    "http",
];

#[test]
fn http_has_no_import_circle_and_its_parts_use_only_those_after_them() {
    let modules = Module::all_of("http");
    assert_eq!(cycles(&modules), Vec::<Vec<String>>::new());
    let find_part = |name: &str| {
        let name = name.strip_prefix("http::").unwrap_or(name);
        let is_in =
            |find_part: &&str| name == *find_part || name.starts_with(&format!("{find_part}::"));
        HTTP_PARTS.iter().position(is_in)
    };
    let mut uses = 0;
    for module in &modules {
        for used in &module.uses {
            let part_index =
                |name| find_part(name).unwrap_or_else(|| panic!("{name} is in no part of http"));
            // The module itself exports the parts.
            if module.name == "http" {
                continue;
            }
            let (from, to) = (part_index(&module.name), part_index(used));
            uses += 1;
            assert!(from <= to, "{} uses {used}, which comes before it", module.name);
        }
    }
    assert!(uses > 100, "too few imports found: {uses}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/ARCHITECTURE.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `src/http/")?.split('`').next());
    let rows: Vec<String> = rows
        .skip_while(|row| row.is_empty())
        .map(|row| row.trim_end_matches(".rs").trim_end_matches('/').replace('/', "::"))
        .collect();
    assert_eq!(rows, HTTP_PARTS[..HTTP_PARTS.len() - 1], "the page lists other parts");
}

/// The queries are handlers of the manager's actor, in a separate file.
const MANAGER_AND_QUERIES: [&str; 2] = ["hub::manager", "hub::manager::queries"];

#[test]
fn hub_has_one_import_circle_and_the_manager_and_shards_know_only_messages() {
    let modules = Module::all_of("hub");
    assert_eq!(cycles(&modules), [MANAGER_AND_QUERIES]);
    let is_in = |part: &str, name: &str| name == part || name.starts_with(&format!("{part}::"));
    for module in &modules {
        for (module_name, forbidden) in
            [("hub::manager", "hub::shard"), ("hub::shard", "hub::manager")]
        {
            if is_in(module_name, &module.name) {
                let import = module.uses.iter().find(|used| is_in(forbidden, used));
                assert_eq!(import, None, "{} imports it", module.name);
            }
        }
    }
}

#[test]
fn conditions_do_not_match_on_bools() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in ["src", "tests", "benches", "fuzz/fuzz_targets", "docs/examples"] {
        sources(&root.join(folder), &mut paths);
    }
    assert!(paths.len() > 300, "too few files found");
    for path in paths {
        for (index, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            let arm = line.trim_start();
            let rest = arm.strip_prefix("true ").or_else(|| arm.strip_prefix("false "));
            let is_bool = rest
                .is_some_and(|rest| ["=>", "if ", "| "].iter().any(|next| rest.starts_with(next)));
            let is_bool = is_bool || has_bool_pattern(arm);
            assert!(!is_bool, "{}:{}: use if", path.display(), index + 1);
        }
    }
}

/// Returns true if a line begins an arm or has a `let` with a tuple pattern of which a part is a
/// bool.
fn has_bool_pattern(line: &str) -> bool {
    let tuple = match line.find("let (") {
        Some(index) => &line[index + 4..],
        None if line.starts_with('(') && line.contains("=>") => line,
        None => return false,
    };
    let pattern = match line.find("let (") {
        Some(_) => tuple.split(" = ").next().unwrap(),
        None => tuple.split(" =>").next().unwrap(),
    };
    parameters(&format!("fn {pattern}")).iter().any(|part| matches!(*part, "true" | "false"))
}

#[test]
fn pages_for_contributors_name_only_files_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    let page = read("docs/ARCHITECTURE.md");
    for (page, min_paths) in [(&page, 100), (&read("CONTRIBUTING.md"), 5)] {
        let mut paths = 0;
        for name in page.split('`').skip(1).step_by(2) {
            let name = name.split(' ').next().unwrap();
            let is_installed = name.contains("/node_modules/");
            let is_ours =
                ["src/", "tests/", "docs/", "static/"].iter().any(|f| name.starts_with(f));
            if is_ours && !is_installed {
                paths += 1;
                assert!(root.join(name).exists(), "there is no {name}");
            }
        }
        assert!(paths >= min_paths, "too few paths found: {paths}");
    }
    for folder in fs::read_dir(root.join("src")).unwrap().map(|entry| entry.unwrap()) {
        if folder.file_type().unwrap().is_dir() {
            let row = format!("| `src/{}/` |", folder.file_name().to_str().unwrap());
            assert!(page.contains(&row), "the page has no row {row}");
        }
    }
}

/// `src/journal/kv/wal.rs` reads fjall's private format, which may change with any release.
#[test]
fn the_store_is_pinned_to_one_version() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    assert!(manifest.contains("\nfjall = { version = \"="), "fjall is not pinned");
}

/// Returns the parameters of the function declared at the start of `text`, which begins with `fn `.
fn parameters(text: &str) -> Vec<&str> {
    let (mut depth, mut generics, mut open_paren, mut start) = (0, 0, None, 0);
    let mut parameters = Vec::new();
    for (index, c) in text.char_indices() {
        match c {
            '<' if open_paren.is_none() => generics += 1,
            '>' if open_paren.is_none() && !text[..index].ends_with('-') => generics -= 1,
            '(' if generics == 0 && open_paren.is_none() => {
                (open_paren, start) = (Some(index), index + 1)
            }
            '(' | '[' | '{' if open_paren.is_some() => depth += 1,
            ')' if open_paren.is_some() && depth == 0 => {
                parameters.push(text[start..index].trim());
                return parameters;
            }
            ')' | ']' | '}' if open_paren.is_some() => depth -= 1,
            ',' if open_paren.is_some() && depth == 0 => {
                parameters.push(text[start..index].trim());
                start = index + 1;
            }
            _ => {}
        }
    }
    parameters
}

/// Returns true if a parameter is a tuple, by its pattern or by its type.
fn is_tuple(parameter: &str) -> bool {
    let (pattern, kind) = parameter.split_once(": ").unwrap_or((parameter, ""));
    let kind = kind.trim_start_matches(['&', ' ']).trim_start_matches("mut ");
    pattern.starts_with('(') || kind.starts_with('(') && !kind.starts_with("()")
}

#[test]
fn parameters_are_not_tuples() {
    let text = "fn a<F: Fn((u8, u8)) -> u8>(mut x: u8, (y, z): (u8, [u8; 2]), w: &mut (u8, u8)) {";
    let tuples: Vec<bool> = parameters(text).into_iter().map(is_tuple).collect();
    assert_eq!(tuples, [false, true, true]);
    let mut functions = 0;
    for (path, text) in all_sources() {
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for (index, _) in text.match_indices("fn ") {
            let is_declared = text[index + 3..].starts_with(char::is_alphabetic)
                && (index == 0 || text[..index].ends_with([' ', '\n']));
            if !is_declared {
                continue;
            }
            functions += 1;
            for parameter in parameters(&text[index..]) {
                let line = text[..index].lines().count();
                assert!(!is_tuple(parameter), "{}:{line}: {parameter:?}", path.display());
            }
        }
    }
    assert!(functions > 2_000, "too few functions found: {functions}");
}

/// Openings of a doc comment that does not name what it describes.
const VAGUE: [&str; 13] = [
    "Whether", "What", "How", "Whoever", "Whom", "Whose", "Who", "Its", "Their", "Those", "One",
    "Of", "As",
];

#[test]
fn doc_comments_begin_with_what_they_describe() {
    let (mut comments, mut vague) = (0, Vec::new());
    for (path, text) in all_sources() {
        let mut is_inside = false;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim_start();
            let comment = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"));
            if let Some(comment) = comment.filter(|_| !is_inside) {
                comments += 1;
                let first_word =
                    comment.split(|c: char| !c.is_alphanumeric()).find(|word| !word.is_empty());
                if first_word.is_some_and(|first_word| VAGUE.contains(&first_word)) {
                    vague.push(format!("{}:{}:{comment}", path.display(), index + 1));
                }
            }
            is_inside = comment.is_some();
        }
    }
    assert!(comments > 3_000, "too few comments found: {comments}");
    assert!(
        vague.len() * 100 < comments * 3,
        "{} of {comments}:\n{}",
        vague.len(),
        vague.join("\n")
    );
}
