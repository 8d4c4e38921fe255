//! The migrations are part of the program: a new file alone must build the crate again, which the macro that reads them cannot see.

fn main() {
    println!("cargo::rerun-if-changed=../../migrations");
}
