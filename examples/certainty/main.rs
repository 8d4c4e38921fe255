//! How often `sweep explain` is wrong, and how often it sees what is there (docs/certainty.md):
//! `cargo run --release --example certainty -- [--worlds CELLS] [--n N] [--seed S] [--sweep PROGRAM] [--json FILE]`.
//!
//! Prints a Markdown table with exact 95 % intervals. Nothing but the scores is made up: they are recorded in databases by the
//! program's own calls, and judged by its own command.

mod table;
mod trained;
mod worlds;

use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;

use table::Counted;
use worlds::count::rates;
use worlds::said::{Ask, Said};
use worlds::world::{Cell, WORLDS, World};

/// How often `sweep explain` is wrong, and how often it sees what is there.
#[derive(Debug, Parser)]
struct Arguments {
    /// Comma-separated: WORLD/ARMSxSEEDS/ROWS (val and test have ROWS each), or the beginning of some in the built-in list
    #[arg(long, value_delimiter = ',')]
    worlds: Vec<String>,
    /// Sweeps of each; a built-in number by default
    #[arg(long)]
    n: Option<usize>,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The program that is asked, instead of this version of it; needed for worlds that train
    #[arg(long, value_name = "PROGRAM")]
    sweep: Option<PathBuf>,
    #[arg(long)]
    threads: Option<usize>,
    /// Writes every count to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Prints what there is, and ends
    #[arg(long)]
    list: bool,
}

/// The built-in cells, and how many sweeps of each.
const CELLS: &str = include_str!("cells.txt");

fn built_in() -> Result<Vec<(String, usize)>, String> {
    let lines = CELLS.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, count) = line.split_once(' ').ok_or_else(|| line.to_owned())?;
            Ok((name.to_owned(), count.trim().parse().map_err(|_| line.to_owned())?))
        })
        .collect()
}

/// The cells that were asked for: the built-in one of that name, or those that begin so, else a cell that is not built in.
fn chosen(asked: &[String]) -> Result<Vec<(String, usize)>, String> {
    let all = built_in()?;
    if asked.is_empty() {
        return Ok(all);
    }
    let mut chosen = Vec::new();
    for asked in asked {
        let exact = all.iter().any(|(name, _)| name == asked);
        let is_meant = |name: &str| if exact { name == asked } else { name.starts_with(asked.as_str()) };
        let known: Vec<(String, usize)> = all.iter().filter(|(name, _)| is_meant(name)).cloned().collect();
        if known.is_empty() {
            chosen.push((asked.clone(), 200));
        }
        chosen.extend(known);
    }
    Ok(chosen)
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the tables are for stdout, progress is for stderr")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    if arguments.list {
        WORLDS.iter().chain(&trained::WORLDS).for_each(|(name, what)| println!("{name:<10} {what}"));
        println!("\n{CELLS}");
        return Ok(());
    }
    let threads = arguments.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let ask = arguments.sweep.clone().map_or(Ask::Here, Ask::Program);
    let mut all: Vec<Counted> = Vec::new();
    for (name, count) in chosen(&arguments.worlds)? {
        let count = arguments.n.unwrap_or(count);
        let cell: Cell = name.parse()?;
        let started = Instant::now();
        let (said, effects): (Vec<Said>, Vec<[f64; 4]>) = if trained::is_one(&cell.world) {
            let program = arguments.sweep.as_deref().ok_or("worlds that train need --sweep PROGRAM")?;
            (trained::ask(program, &cell, arguments.seed, count, threads)?, vec![[0.0; 4]; cell.arms])
        } else {
            let world = World::new(&cell.world, cell.arms)?;
            (worlds::ask(&ask, &world, &cell, arguments.seed, count, threads)?, world.effects)
        };
        let effect = |arm: usize, label: Option<usize>| {
            label.map_or_else(|| worlds::population::macro_ap(effects[arm]), |label| effects[arm][label])
        };
        let rates = rates(&said, &effect);
        eprintln!("{name}: {count} sweeps in {:.1} s", started.elapsed().as_secs_f64());
        let most = (1..cell.arms).map(|arm| effect(arm, None)).max_by(|a, b| a.abs().total_cmp(&b.abs()));
        all.push(Counted::new(&cell, &said, most.unwrap_or(0.0), rates));
    }
    print!("{}", table::markdown(&all));
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_string_pretty(&all)? + "\n")?;
    }
    Ok(())
}
