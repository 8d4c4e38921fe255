//! The latents of the built-in letters as features: `cargo run --release --example letters_latents -- FOLDER SIGNAL SAMPLES
//! [SEED]`.
//!
//! Writes `features.npy` (float32 `[samples, 4]`: the g behind each letter's grey) and `labels.csv` (id, A, B, C, D) into FOLDER:
//! what the images of `kind = "letters"` with this signal, number of samples and seed say about their labels, without any image.
//! A linear model on them is the best possible one, and everything that it should come to is known in closed form (strategies:
//! `sweep data` on letters; docs/predictions.md).

use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;

use archive::write_matrix;
use data::letters::Letters;

/// The rates of the question: 19,000, 65,000, 38,000 and 105,000 of 224,000.
const RATES: [(&str, f64); 4] = [("A", 0.0848), ("B", 0.2902), ("C", 0.1696), ("D", 0.4688)];

fn number<T: FromStr>(text: Option<&String>, name: &str) -> Result<T, String> {
    let text = text.ok_or_else(|| format!("{name} is missing: FOLDER SIGNAL SAMPLES [SEED]"))?;
    text.parse().map_err(|_| format!("{name} is no number: `{text}`"))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = PathBuf::from(arguments.first().ok_or("FOLDER is missing: FOLDER SIGNAL SAMPLES [SEED]")?);
    let (signal, samples): (f64, u64) = (number(arguments.get(1), "SIGNAL")?, number(arguments.get(2), "SAMPLES")?);
    let seed = if arguments.len() > 3 { number(arguments.get(3), "SEED")? } else { 0 };
    let rates = RATES.map(|(name, rate)| (name.to_owned(), rate));
    let letters = Letters::new(&rates, 16, signal, seed)?;
    std::fs::create_dir_all(&folder)?;
    let mut features = Vec::new();
    let mut labels = std::io::BufWriter::new(std::fs::File::create(folder.join("labels.csv"))?);
    writeln!(labels, "id,A,B,C,D")?;
    for row in 0..samples {
        let latents = letters.draw(row);
        features.extend(latents.iter().map(|(g, _)| *g as f32));
        let cells: Vec<String> = latents.iter().map(|(_, y)| y.to_string()).collect();
        writeln!(labels, "{row},{}", cells.join(","))?;
    }
    labels.flush()?;
    write_matrix(&folder.join("features.npy"), RATES.len(), &features)?;
    Ok(())
}
