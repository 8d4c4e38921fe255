//! The text of the sweep file.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{Fit, Input, Looked};
use data::quoted;
use plan::{Columns, UnknownAs};

/// The sweep file: what was chosen, with a comment for each choice; paths as seen from `folder`.
pub fn text(looked: &Looked, folder: &Path, Fit { grid, size }: Fit<'_>, time: Option<&str>) -> String {
    let mut text = format!(
        "# Written by `sweep init`; every line may be changed. `sweep plan FILE` says what it would do, `sweep run FILE` does it.\n\
         # All keys: docs/sweep-file.md. Strategies: docs/strategies.md.\n\nname = {}\n\n[data]\n",
        quoted(&looked.name)
    );
    let labels = quoted(&seen_from(folder, &looked.labels));
    match &looked.input {
        Input::Images { root, pictures } => {
            let channels = if pictures.grey { 1 } else { 3 };
            line(&mut text, "kind = \"images\"", "");
            line(&mut text, &format!("root = {}", quoted(&seen_from(folder, root))), "paths of the CSV start here");
            line(&mut text, &format!("labels = {labels}"), &count(looked));
            let median = pictures.sizes.get(pictures.sizes.len() / 2);
            let seen = median.map_or_else(String::new, |(width, height)| format!("the pictures are {width}x{height}; "));
            line(&mut text, &format!("image_size = {size}"), &format!("{seen}twice the size takes four times as long"));
            if pictures.deep > 0 {
                let why = "for pictures of 16 bits that use a part of them: `sweep plan` says whether they do";
                line(&mut text, "# pixel_range = \"used\"", why);
            }
            line(
                &mut text,
                &format!("channels = {channels}"),
                if channels == 1 { "all pictures that were looked at are grey" } else { "" },
            );
        }
        Input::Features { file, width, .. } => {
            line(&mut text, "kind = \"features\"", "");
            line(&mut text, &format!("features = {}", quoted(&seen_from(folder, file))), &format!("{width} numbers a row"));
            line(&mut text, &format!("labels = {labels}"), &count(looked));
        }
    }
    columns(&mut text, &looked.chosen.columns, looked);
    if looked.table.splits.is_none() {
        text.push_str("\n[data.split]                    # every split gets its share of each label\ntrain = 0.70\nval = 0.15\ntest = 0.15\n");
    }
    let arch = match grid.arch {
        "cnn" => "small convolutions; with pretrained weights: densenet121, or a frozen backbone (docs/sweep-file.md)",
        "linear" => "few rows for so many features; \"mlp\" is the next larger",
        _ => "a hidden layer; \"linear\" is the next smaller",
    };
    text.push_str("\n[model]\n");
    line(&mut text, &format!("arch = {}", quoted(grid.arch)), arch);
    text.push_str("\n# [train] has its defaults: every run trains until val gets no better, all strategies by the same rule.\n");
    text.push('\n');
    for why in &grid.why {
        let _ = writeln!(text, "# {why}");
    }
    if let Some(time) = time {
        let _ = writeln!(text, "# This grid takes at most {time} or so on the machine that wrote it.");
    }
    text.push_str("[grid]\n");
    let list = |names: &[&str]| names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
    line(&mut text, &format!("loss = [{}]", list(&grid.losses)), "");
    line(&mut text, &format!("pos_weight = [{}]", list(&grid.weights)), "what a positive counts, from the train rows");
    line(&mut text, &format!("sampler = [{}]", list(&grid.samplers)), "which rows a training shows");
    line(&mut text, "threshold = [0.5, \"max_f1\"]", "never trains again: fitted on val, judged on test");
    let seeds: Vec<String> = (0..grid.seeds).map(|seed| seed.to_string()).collect();
    line(
        &mut text,
        &format!("seed = [{}]", seeds.join(", ")),
        "a difference within one seed may be luck; more seeds find smaller ones",
    );
    if grid.samplers.len() > 1 {
        if grid.weights.len() > 1 {
            text.push_str("\n# A weight and a sampler together would correct the same imbalance twice.\n");
            let _ = writeln!(text, "[[grid.exclude]]\nsampler = \"class_aware\"\npos_weight = [{}]", list(&grid.weights[1..]));
        }
        if grid.losses.len() > 1 {
            text.push_str("\n# The sampler is tried with plain BCE only.\n");
            let _ = writeln!(text, "[[grid.exclude]]\nsampler = \"class_aware\"\nloss = [{}]", list(&grid.losses[1..]));
        }
    }
    text
}

/// `60 rows, 3 labels`.
fn count(looked: &Looked) -> String {
    let (rows, labels) = (looked.table.ids.len(), looked.table.labels.names.len());
    format!("{} and {}", super::counted(rows, "row"), super::counted(labels, "label"))
}

/// The keys of the CSV's columns.
fn columns(text: &mut String, columns: &Columns, looked: &Looked) {
    let why = |name: &str| looked.chosen.taken.iter().find(|taken| taken.column == name).map_or("", |taken| taken.why.as_str());
    let all = |names: &[String]| names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
    for (key, column) in [("path_column", &columns.path), ("split_column", &columns.split), ("group_column", &columns.group)] {
        if let Some(name) = column {
            line(text, &format!("{key} = {}", quoted(name)), why(name));
        }
    }
    match columns.ignore.as_slice() {
        [] => {}
        [only] => line(text, &format!("ignore_columns = [{}]", quoted(only)), why(only)),
        several => {
            text.push_str("ignore_columns = [\n");
            for name in several {
                line(text, &format!("    {},", quoted(name)), why(name));
            }
            text.push_str("]\n");
        }
    }
    if !columns.lists.is_empty() {
        let lists: Vec<String> =
            columns.lists.iter().map(|(name, separator)| format!("{} = {}", quoted(name), quoted(separator))).collect();
        line(text, &format!("label_lists = {{ {} }}", lists.join(", ")), "a label for each name, in alphabetical order");
    }
    match columns.no_label.as_slice() {
        [] => {}
        [only] => line(text, &format!("no_label = {}", quoted(only)), "the entry of a row without a label"),
        several => line(text, &format!("no_label = [{}]", all(several)), "entries of rows without a label"),
    }
    if !columns.positive.is_empty() {
        line(text, &format!("positive = [{}]", all(&columns.positive)), "cells that mean 1");
    }
    if !columns.negative.is_empty() {
        line(text, &format!("negative = [{}]", all(&columns.negative)), "cells that mean 0");
    }
    if columns.unknown.all == UnknownAs::Ignore {
        line(text, "unknown = \"ignore\"", "blanks and -1 are left out; \"negative\" takes them for 0, \"positive\" for 1");
    }
    if columns.group_duplicates {
        line(text, "duplicates = \"group\"", "rows that show the same stay in one split");
    }
}

/// A line and its comment.
fn line(text: &mut String, code: &str, comment: &str) {
    let comment: String = comment.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    let _ = if comment.is_empty() { writeln!(text, "{code}") } else { writeln!(text, "{code:<30}  # {comment}") };
}

/// A path of the working folder as the sweep file in `folder` must write it.
fn seen_from(folder: &Path, path: &Path) -> String {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (folder, full) = (absolute(folder), absolute(path));
    let relative: PathBuf = full.strip_prefix(&folder).map_or_else(|_| full.clone(), Path::to_owned);
    let shown = relative.to_string_lossy();
    if shown.is_empty() { ".".to_owned() } else { shown.into_owned() }
}
