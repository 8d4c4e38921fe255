//! The pages agree with the program: tables of docs/strategies.md and the registries, queries and their files, the commands and
//! docs/commands.md, and every link and citation leads to a file and a heading that exist.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use imbalance::{Absent, Entry, loss, pos_weight, sampler, threshold};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The text below `## heading`, up to the next heading of that level.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let start = text.find(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    let body = &text[start + heading.len() + 5..];
    body.find("\n## ").map_or(body, |end| &body[..end])
}

/// The rows of the tables in `text` whose header begins with these cells.
fn rows(text: &str, header: &[&str]) -> Vec<Vec<String>> {
    let cells =
        |line: &str| -> Vec<String> { line.trim().trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect() };
    let mut lines = text.lines();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if line.starts_with('|') && cells(line).iter().zip(header).all(|(cell, header)| cell == header) {
            found.extend(lines.by_ref().skip(1).take_while(|line| line.starts_with('|')).map(cells));
        }
    }
    found
}

fn code(word: &str) -> String {
    format!("`{word}`")
}

/// Compares a registry with the summaries and the table of parameters in its section.
fn compare<B>(page: &str, heading: &str, registry: &[Entry<B>]) {
    let section = section(page, heading);
    let summaries = rows(section, &["name"]);
    // The table of parameters has five columns and a header that begins with a name, too.
    let names: Vec<&String> = summaries.iter().map(|row| &row[0]).collect();
    let mut kinds = registry.iter().map(|entry| code(entry.kind));
    assert!(kinds.all(|kind| names.contains(&&kind)), "{heading}: a strategy is missing among {names:?}");
    let documented: Vec<Vec<String>> = rows(section, &["name", "parameter", "default", "allowed", "meaning"]);
    let expected: Vec<Vec<String>> = registry
        .iter()
        .flat_map(|entry| entry.params.iter().map(|param| (entry.kind, param)))
        .map(|(kind, param)| {
            let default = match param.absent {
                Absent::Error => "required".to_owned(),
                Absent::Off => "off".to_owned(),
                Absent::Number(number) => number.to_string(),
                Absent::Word(word) => code(word),
            };
            vec![code(kind), code(param.name), default, param.takes.to_string(), param.help.to_owned()]
        })
        .collect();
    let table: String = expected.iter().map(|row| format!("| {} |\n", row.join(" | "))).collect();
    assert_eq!(documented, expected, "{heading}: the table of parameters should be\n{table}");
}

#[test]
fn the_strategies_are_documented_as_they_are() {
    let page = read("docs/strategies.md");
    compare(&page, "Losses", loss::REGISTRY);
    compare(&page, "Positive weights", pos_weight::REGISTRY);
    compare(&page, "Samplers", sampler::REGISTRY);
    compare(&page, "Threshold policies", threshold::REGISTRY);
    let counts = [loss::REGISTRY.len(), pos_weight::REGISTRY.len(), sampler::REGISTRY.len(), threshold::REGISTRY.len()];
    let [losses, weights, samplers, policies] = counts;
    let sentence =
        format!("{losses} losses, {weights} formulas of positive weights, {samplers} samplers and {policies} threshold policies");
    assert!(read("README.md").replace('\n', " ").contains(&sentence), "README.md should say: {sentence}");
}

#[test]
fn every_loss_and_sampler_has_an_entry() {
    let anchors = anchors(&read("docs/strategies.md"));
    let kinds = loss::REGISTRY.iter().map(|entry| entry.kind).chain(sampler::REGISTRY.iter().map(|entry| entry.kind));
    let missing: Vec<_> = kinds.filter(|kind| *kind != "shuffle" && !anchors.contains(*kind)).collect();
    assert!(missing.is_empty(), "docs/strategies.md has no heading for {missing:?}");
}

#[test]
fn the_queries_on_the_page_are_those_of_the_files() {
    let page = read("docs/sql.md");
    let mut shown = BTreeMap::new();
    let mut file = String::new();
    let mut parts = page.split("```");
    while let Some(text) = parts.next() {
        if let Some((_, link)) = text.rsplit_once("(../reports/") {
            file = link.split(')').next().unwrap().to_owned();
        }
        if let Some(query) = parts.next().and_then(|block| block.strip_prefix("sql\n")) {
            shown.insert(file.clone(), query.trim().to_owned());
        }
    }
    for entry in fs::read_dir(root().join("reports")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "sql") {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        // A file explains its query in comments, the page in prose.
        let query = fs::read_to_string(&path).unwrap();
        let query: Vec<&str> = query.lines().skip_while(|line| line.starts_with("--") || line.is_empty()).collect();
        assert_eq!(shown.get(name).map(String::as_str), Some(query.join("\n").trim()), "docs/sql.md and reports/{name} differ");
    }
}

/// GitHub's anchors of a page's headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut fenced = false;
    let mut found = BTreeSet::new();
    for line in text.lines() {
        fenced ^= line.starts_with("```");
        if !fenced && line.starts_with('#') {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            found.insert(kept.map(|c| if c == ' ' { '-' } else { c }).collect());
        }
    }
    found
}

/// Files below `folder` with one of these endings, without what is built.
fn files(folder: &Path, endings: &[&str], into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            files(&path, endings, into);
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            into.push(path);
        }
    }
}

/// What a link or citation of `from` leads to, if there is no such file or heading.
fn broken(target: &str, from: &Path) -> bool {
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let path = if path.is_empty() { from.to_owned() } else { from.parent().unwrap().join(path) };
    match anchor {
        None => !path.exists(),
        Some(anchor) => fs::read_to_string(path).map_or(true, |text| !anchors(&text).contains(anchor)),
    }
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut pages = Vec::new();
    files(root(), &[".md"], &mut pages);
    assert!(pages.len() > 10);
    let mut wrong = Vec::new();
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !link.contains("://") && broken(link, &page) {
                wrong.push(format!("{}: {link}", page.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn citations_in_the_code_lead_to_a_page_and_heading() {
    let mut sources = Vec::new();
    files(root(), &[".rs", ".py", ".sql", ".toml", ".cu"], &mut sources);
    let mut wrong = Vec::new();
    for source in sources {
        let text = fs::read_to_string(&source).unwrap();
        for (start, _) in text.match_indices("docs/").filter(|(start, _)| !text[..*start].ends_with('/')) {
            let of_path = |c: char| c.is_ascii_alphanumeric() || "/._#-".contains(c);
            let target: String = text[start..].chars().take_while(|c| of_path(*c)).collect();
            let target = target.trim_end_matches(['.', '-', '#', '/']);
            if target.contains(".md") && broken(target, &root().join("Cargo.toml")) {
                wrong.push(format!("{}: {target}", source.strip_prefix(root()).unwrap().display()));
            }
        }
        // A page is cited by its path.
        let bare = text.match_indices("strategies.md").any(|(start, _)| !text[..start].ends_with("docs/"));
        if bare && !source.ends_with("tests/docs.rs") {
            wrong.push(format!("{}: cite docs/strategies.md by its path", source.strip_prefix(root()).unwrap().display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The table of seeds is what the program computes.
#[test]
fn the_seeds_on_the_page_are_those_of_the_program() {
    let text = read("docs/certainty.md");
    let seeds = [3, 5, 9, 18];
    let header = ["comparisons"].into_iter().map(str::to_owned).chain(seeds.map(|seeds| format!("{seeds} seeds")));
    let header: Vec<String> = header.collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let of = |comparisons: usize| -> Vec<String> {
        let least = seeds.map(|seeds| imbalance::metric::certainty::detectable(seeds, comparisons).unwrap());
        std::iter::once(comparisons.to_string()).chain(least.map(|least| format!("{least:.2}"))).collect()
    };
    let expected: Vec<Vec<String>> = [1, 2, 4, 11, 24, 124].map(of).into();
    let table: Vec<String> = expected.iter().map(|row| format!("| {} |", row.join(" | "))).collect();
    assert_eq!(rows(&text, &header), expected, "the page should have\n{}", table.join("\n"));
}

/// The commands that do something, as they are typed: `report`, `db export`. Hidden ones are left out.
fn commands(of: &clap::Command, before: &str, into: &mut Vec<(String, clap::Command)>) {
    for command in of.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help") {
        let name = format!("{before}{}", command.get_name());
        if command.has_subcommands() {
            commands(command, &format!("{name} "), into);
        } else {
            into.push((name, command.clone()));
        }
    }
}

/// Every command has a section in docs/commands.md, and the options in its tables exist.
#[test]
fn every_command_is_documented() {
    let page = read("docs/commands.md");
    let mut known = Vec::new();
    commands(&sweep::cli::Cli::command(), "", &mut known);
    assert!(known.len() > 10);
    let mut wrong = Vec::new();
    for (name, command) in known {
        let Some((_, below)) = page.split_once(&format!("\n### {name}\n")) else {
            wrong.push(format!("no heading `### {name}`"));
            continue;
        };
        let section = below.find("\n## ").into_iter().chain(below.find("\n### ")).min().map_or(below, |end| &below[..end]);
        let options: Vec<&str> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
        for row in rows(section, &["option"]) {
            let words = row[0].split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            for option in words.filter_map(|word| word.strip_prefix("--")).filter(|option| !options.contains(option)) {
                wrong.push(format!("{name} has no --{option}"));
            }
        }
    }
    assert!(wrong.is_empty(), "docs/commands.md: {}", wrong.join("; "));
}

/// A page that is read at a glance: what is reference stands in docs/.
#[test]
fn the_readme_is_short() {
    let text = read("README.md");
    assert!(text.lines().count() <= 130, "README.md has {} lines: move reference to docs/", text.lines().count());
    let long = text.lines().filter(|line| line.chars().count() > 120 && !line.contains("]("));
    assert_eq!(long.collect::<Vec<_>>(), Vec::<&str>::new(), "README.md: wrap these lines");
}
