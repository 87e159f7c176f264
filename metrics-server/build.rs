//! Writes the scripts for other pages, and the files of the page at `/`, to `OUT_DIR` as they are served: without comments,
//! plain and compressed. `page_files.rs` there is the table of the latter.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use bundle::bundle;
use flate2::{Compression, GzBuilder};
use minify::minify;
use squeeze::squeeze;

#[path = "src/bundle.rs"]
mod bundle;
#[path = "src/minify.rs"]
mod minify;
#[path = "src/squeeze.rs"]
mod squeeze;

/// The start and the end of the script if it is not a module. The block scopes its names; the condition ignores an
/// element of the page with the id `metrics`.
const CLASSIC: [&str; 2] = [
    "{\n",
    "if (!window.metrics?.monitor && document.currentScript) {
  window.metrics = start(document.currentScript.src, document.currentScript);
}
}\n",
];

const MODULE: [&str; 2] = [
    "",
    "export const metrics = start(import.meta.url);
export const { monitor } = metrics;\n",
];

/// The modules of `/metrics-components.js`, in an order in which each comes after those that it imports. Together they
/// are one module, so their names at the top level must differ.
const COMPONENTS: [&str; 8] = [
    "page/charts/maths.js",
    "page/charts/text.js",
    "page/charts/curve-words.js",
    "page/charts/styles.js",
    "page/charts/draw.js",
    "page/charts/line.js",
    "page/charts/retention.js",
    "components/components.js",
];

/// The maximum: a file is compressed once, and sent often.
const BROTLI_QUALITY: u32 = 11;

/// The window of 4 MiB is larger than any of the files.
const BROTLI_WINDOW_BITS: u32 = 22;

/// The size of brotli's input buffer, in bytes.
const BROTLI_BUFFER: usize = 4096;

/// The folder of the page.
const PAGE: &str = "src/page";

/// The scripts that documents name. Each is served as one file with all modules that it imports.
const SCRIPTS: [&str; 3] = ["demo.js", "main.js", "theme.js"];

/// The media types of the page's files by their endings. Files with other endings are not served.
const KINDS: [(&str, &str); 4] = [
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("svg", "image/svg+xml"),
    ("webm", "video/webm"),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=src/bundle.rs");
    println!("cargo::rerun-if-changed=src/minify.rs");
    println!("cargo::rerun-if-changed=src/script");
    println!("cargo::rerun-if-changed=src/squeeze.rs");
    println!("cargo::rerun-if-changed={PAGE}");
    println!("cargo::rerun-if-changed=src/components");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let source = fs::read_to_string("src/script/metrics.js")?;
    let script = |[head, tail]: [&str; 2]| squeeze(&minify(&[head, &source, tail].concat()));
    write(&out.join("metrics.js"), &script(CLASSIC))?;
    write(&out.join("metrics.mjs"), &script(MODULE))?;
    write(&out.join("metrics.d.ts"), &fs::read_to_string("src/script/metrics.d.ts")?)?;
    write(&out.join("metrics-components.js"), &minify(&components()?))?;
    let types = fs::read_to_string("src/components/components.d.ts")?;
    write(&out.join("metrics-components.d.ts"), &types)?;
    let mut files = Vec::new();
    page_files(Path::new(PAGE), &mut files)?;
    fs::write(out.join("page_files.rs"), page_table(&out, &files)?)?;
    Ok(())
}

/// Joins the modules of the web components to one.
fn components() -> Result<String, Box<dyn Error>> {
    let mut joined = String::new();
    for name in COMPONENTS {
        let path = format!("src/{name}");
        println!("cargo::rerun-if-changed={path}");
        let source = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        // The classes of the elements are the only exports.
        let is_inner = name.starts_with("page/");
        for line in source.lines() {
            if !line.starts_with("import ") {
                let exported = line.strip_prefix("export ").filter(|_| is_inner);
                joined.push_str(without_comment(exported.unwrap_or(line)));
                joined.push('\n');
            } else if !line.ends_with("';") {
                return Err(format!("{path}: an import must be on one line: {line}").into());
            }
        }
    }
    Ok(joined)
}

/// Removes a comment behind a statement. Nothing before it may be a text, which could hold one.
fn without_comment(line: &str) -> &str {
    match line.split_once("; // ") {
        Some((code, _)) if !code.contains(['\'', '"', '`']) => &line[..=code.len()],
        _ => line,
    }
}

/// Adds the files of a folder of the page, and of those in it.
fn page_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    let mut entries: Vec<_> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        if entry.file_type()?.is_dir() {
            page_files(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// The table of the page's files: an array of `File`s as Rust.
fn page_table(out: &Path, files: &[PathBuf]) -> Result<String, Box<dyn Error>> {
    let source = env::current_dir()?;
    let mut table = String::from("&[\n");
    for path in files {
        let ending = path.extension().and_then(|it| it.to_str()).unwrap_or_default();
        let Some((_, kind)) = KINDS.into_iter().find(|(known, _)| *known == ending) else {
            continue;
        };
        let name = path.strip_prefix(PAGE)?.to_str().ok_or("names of files are UTF-8")?;
        if ending == "webm" {
            let path = source.join(path);
            writeln!(table, "    File::media({name:?}, {kind:?}, include_bytes!({path:?})),")?;
            continue;
        }
        let text = match ending {
            "js" if SCRIPTS.contains(&name) => bundle(name, page_text)?,
            "js" => continue,
            _ => page_text(name)?,
        };
        let written = out.join("page").join(name);
        fs::create_dir_all(written.parent().ok_or("a file is in a folder")?)?;
        write(&written, &minify(&text))?;
        let bytes = |it: &Path| format!("include_bytes!({it:?})");
        let (plain, gzip, brotli) =
            (bytes(&written), bytes(&beside(&written, ".gz")), bytes(&beside(&written, ".br")));
        writeln!(table, "    File::text({name:?}, {kind:?}, [{plain}, {gzip}, {brotli}]),")?;
    }
    table.push_str("]\n");
    Ok(table)
}

/// The text of a file of the page.
fn page_text(name: &str) -> Result<String, String> {
    let path = Path::new(PAGE).join(name);
    fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Writes a text to `path`, and compressed to `path.gz` and `path.br`.
fn write(path: &Path, text: &str) -> Result<(), Box<dyn Error>> {
    let mut gzip = GzBuilder::new().write(Vec::new(), Compression::best());
    gzip.write_all(text.as_bytes())?;
    let mut brotli = Vec::new();
    brotli::CompressorWriter::new(&mut brotli, BROTLI_BUFFER, BROTLI_QUALITY, BROTLI_WINDOW_BITS)
        .write_all(text.as_bytes())?;
    fs::write(path, text)?;
    fs::write(beside(path, ".gz"), gzip.finish()?)?;
    fs::write(beside(path, ".br"), brotli)?;
    Ok(())
}

/// The path with `ending` after it.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
