//! Commands as they are to be pasted into a shell.

use std::path::Path;

use crate::report::page::quoted;

/// `sweep WORDS`, with the flag that names the database where it is not the usual one.
#[must_use]
pub fn sweep(words: &[&str], db: &Path) -> String {
    let db = db.display().to_string();
    let flag = if db == "sweep.db" { String::new() } else { format!(" --db {}", quoted(&db)) };
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("sweep {}{flag}", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        assert_eq!(sweep(&["status", "letters"], Path::new("sweep.db")), "sweep status letters");
        assert_eq!(sweep(&["status", "it's; rm"], Path::new("a b.db")), r"sweep status 'it'\''s; rm' --db 'a b.db'");
    }
}
