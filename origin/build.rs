//! Lists the files of `pages/`, so that a new script there is served without being named here.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=pages");
    let missing = |name| io::Error::other(format!("cargo sets {name}"));
    let folder = env::var_os("CARGO_MANIFEST_DIR").ok_or_else(|| missing("CARGO_MANIFEST_DIR"))?;
    let out = env::var_os("OUT_DIR").ok_or_else(|| missing("OUT_DIR"))?;
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(PathBuf::from(folder).join("pages"))? {
        let path = entry?.path();
        let kind = path.extension().and_then(|extension| extension.to_str());
        if path.is_file() && matches!(kind, Some("html" | "css" | "js" | "svg")) {
            files.push(path);
        }
    }
    files.sort();
    let mut table = String::from("&[\n");
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Relative to the package, so that a build folder may serve several checkouts.
        let file = format!("concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/pages/{name}\")");
        writeln!(table, "    ({name:?}, include_bytes!({file})),").map_err(io::Error::other)?;
    }
    table.push_str("]\n");
    fs::write(PathBuf::from(out).join("pages.rs"), table)
}
