//! The page `docs/knative-compat.md` tells the truth: every clause of the checklist has one row, every test that is
//! named after a clause stands in that clause's row, every test that a row names exists, and each of them is run.
//!
//! Tests are named `file::function`; `file` is a path without its ending, below `tests/`, or `src/…` for a unit test.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Clauses of the checklist (contract of the queue-proxy, section 13).
const CLAUSES: usize = 142;
/// From here on a clause needs a cluster.
const FIRST_OF_A_CLUSTER: usize = 139;
/// Clauses that could have a test here and have none. The aim is none; a test that comes must leave this list.
const WITHOUT_A_TEST: [usize; 0] = [];
/// What a clause's level may be: must, parity, quirk, and some clauses have parts of two kinds.
const LEVELS: [&str; 6] = ["M", "P", "Q", "P, M", "P, Q", "M, Q"];
/// Where tests are looked for, and what is put before the names of files found there.
const FOLDERS: [(&str, &str); 2] = [("tests", ""), ("src", "src/")];

/// All Rust files below `folder`, in order.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A function of a source file.
struct Function {
    /// `file::function`.
    path: String,
    name: String,
    /// Whether the attributes before it make it a test.
    marked: bool,
}

/// The name in a line such as `pub(crate) async fn name(`.
fn declared(line: &str) -> Option<&str> {
    let mut words = line.trim_start();
    for word in ["pub(crate) ", "pub(super) ", "pub ", "const ", "async "] {
        words = words.strip_prefix(word).unwrap_or(words);
    }
    let name = words.strip_prefix("fn ")?.split(['(', '<']).next()?;
    Some(name).filter(|name| !name.is_empty())
}

/// The functions of a file that is called `file` on the page.
fn functions_of(file: &str, text: &str) -> Vec<Function> {
    let (mut marked, mut found) = (false, Vec::new());
    for line in text.lines() {
        if let Some(name) = declared(line) {
            found.push(Function {
                path: format!("{file}::{name}"),
                name: name.to_owned(),
                marked,
            });
        }
        // Attributes and comments may stand between `#[test]` and its function; anything else ends them.
        let line = line.trim_start();
        marked = if line.starts_with("#[") {
            marked || line.contains("test")
        } else {
            marked && line.starts_with("//")
        };
    }
    found
}

/// Every function below [`FOLDERS`], and the text of the tests' main files, where macros list more tests.
fn functions() -> (Vec<Function>, String) {
    let (mut found, mut roots) = (Vec::new(), String::new());
    for (folder, prefix) in FOLDERS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for path in sources(&folder) {
            let text = fs::read_to_string(&path).expect("a source file");
            let below = path.strip_prefix(&folder).expect("below it").with_extension("");
            if prefix.is_empty() && below.ends_with("main") {
                roots.push_str(&text);
            }
            let file = format!("{prefix}{}", below.to_str().expect("UTF-8"));
            found.extend(functions_of(&file, &text));
        }
    }
    (found, roots)
}

/// The clauses that a function is named after: `c19_…`, or `c33_c34_…` and `c54_55_…` for two.
fn clauses(function: &str) -> Vec<usize> {
    let Some(rest) = function.strip_prefix('c') else {
        return Vec::new();
    };
    let numbers = rest
        .split('_')
        .map(|part| part.strip_prefix('c').unwrap_or(part).parse::<usize>());
    numbers.map_while(Result::ok).collect()
}

/// One line of the page's tables.
struct Row {
    clause: usize,
    level: String,
    text: String,
    /// What stands in the column of tests.
    tests: BTreeSet<String>,
    /// Every function that the line names, in whatever column.
    named: BTreeSet<String>,
}

fn in_backticks(text: &str) -> BTreeSet<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter(|part| part.contains("::")).map(str::to_owned).collect()
}

/// The rows of the page: lines of five cells that begin with a number.
fn rows() -> Vec<Row> {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/knative-compat.md")).expect("the page");
    let row = |line: &str| {
        let inner = line.strip_prefix("| ")?.strip_suffix(" |")?;
        let cells: Vec<&str> = inner.split(" | ").collect();
        let clause: usize = cells[0].trim().parse().ok()?;
        let [_, level, text, tests, _notes] = cells[..] else {
            panic!("clause {clause}: not five cells: {line}");
        };
        Some(Row {
            clause,
            level: level.trim().to_owned(),
            text: text.trim().to_owned(),
            tests: in_backticks(tests),
            named: in_backticks(line),
        })
    };
    page.lines().filter_map(row).collect()
}

/// The cell that a row should have.
fn cell(tests: &BTreeSet<String>) -> String {
    let quoted: Vec<String> = tests.iter().map(|test| format!("`{test}`")).collect();
    quoted.join(", ")
}

/// What is wrong with the row of a clause that has these tests.
fn faults_of(row: &Row, tests: &BTreeSet<String>, known: &BTreeSet<String>) -> Vec<String> {
    let (mut faults, clause) = (Vec::new(), row.clause);
    if !LEVELS.contains(&row.level.as_str()) || row.text.is_empty() {
        faults.push(format!("clause {clause}: no level or no text"));
    }
    if row.tests != *tests {
        faults.push(format!("clause {clause}: its tests are: {}", cell(tests)));
    }
    let strangers = row.named.difference(known);
    faults.extend(strangers.map(|name| format!("clause {clause}: there is no {name}")));
    if clause < FIRST_OF_A_CLUSTER && tests.is_empty() != WITHOUT_A_TEST.contains(&clause) {
        faults.push(format!("clause {clause} has {} tests; see WITHOUT_A_TEST", tests.len()));
    }
    faults
}

#[test]
fn every_clause_has_a_row_with_its_tests() {
    let (functions, roots) = functions();
    let mut faults = Vec::new();
    let mut tests: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    for function in &functions {
        for clause in clauses(&function.name) {
            tests.entry(clause).or_default().insert(function.path.clone());
            let listed = [format!("{} in ", function.name)];
            if !function.marked && !listed.iter().any(|entry| roots.contains(entry)) {
                faults.push(format!("{} is no test", function.path));
            }
        }
    }
    let known: BTreeSet<String> = functions.iter().map(|function| function.path.clone()).collect();
    let rows = rows();
    let none = BTreeSet::new();
    for row in &rows {
        faults.extend(faults_of(row, tests.get(&row.clause).unwrap_or(&none), &known));
    }
    let numbers: Vec<usize> = rows.iter().map(|row| row.clause).collect();
    if numbers != Vec::from_iter(1..=CLAUSES) {
        faults.push(format!("not one row for each clause, in order: {numbers:?}"));
    }
    let beyond = tests.keys().filter(|clause| !(1..=CLAUSES).contains(*clause));
    faults.extend(beyond.map(|clause| format!("tests are named after clause {clause}, which does not exist")));
    assert!(faults.is_empty(), "docs/knative-compat.md:\n{}", faults.join("\n"));
}

#[test]
fn names_and_attributes_are_read_as_they_are_written() {
    assert_eq!(clauses("c01_starts_without_arguments"), [1]);
    assert_eq!(clauses("c33_c34_announced_lengths_hold_nothing_back"), [33, 34]);
    assert_eq!(clauses("c95_and_section_7_what_is_counted"), [95]);
    assert_eq!(clauses("c119_a_port_in_use_is_told"), [119]);
    for other in ["connect", "c", "closed_after", "q12_a_client"] {
        assert!(clauses(other).is_empty(), "{other}");
    }
    assert_eq!(
        declared("    pub(crate) async fn c98_probes(user: &U) {"),
        Some("c98_probes")
    );
    assert_eq!(declared("fn bounded<T>(value: T) {}"), Some("bounded"));
    assert_eq!(declared("let function = fn_of(1);"), None);
    let text = "#[tokio::test(start_paused = true)]\n// why\nasync fn c1_a() {}\nfn c2_b() {}\n";
    let marked: Vec<bool> = functions_of("f", text).iter().map(|function| function.marked).collect();
    assert_eq!(marked, [true, false]);
}
