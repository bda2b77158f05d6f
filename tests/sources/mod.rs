//! Reads the sources, for tests of what must stand in them.

use std::path::{Path, PathBuf};

/// The texts of all files below a folder of the package.
pub(crate) fn texts(below: &str) -> Vec<String> {
    let (mut texts, mut open) = (Vec::new(), vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(below)]);
    while let Some(folder) = open.pop() {
        let paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        let (folders, files): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| path.is_dir());
        open.extend(folders);
        texts.extend(files.iter().map(|file| std::fs::read_to_string(file).unwrap()));
    }
    texts
}
