//! Rebuilds when a migration is added: `embed_migrations!` reads its folder only when it is expanded.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
