//! `embed_migrations!` reads its folder when it is expanded, and would not notice a new file.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
