//! Files that others made, for a row's data disk or its network.

use crate::context::{Context, read, write};
use crate::packages::{self, Store};
use anyhow::{Context as _, Result};
use flate2::read::GzDecoder;
use qemu_tests::GivenFile;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// A sample that is named but absent.
pub fn missing_sample(context: &Context, files: &BTreeMap<String, GivenFile>) -> Option<PathBuf> {
    let samples = files.values().filter_map(|file| match file {
        GivenFile::Sample { sample } => Some(sample_path(context, sample)),
        GivenFile::Packaged { .. } | GivenFile::Written { .. } => None,
    });
    samples.into_iter().find(|path| !path.exists())
}

/// Samples lie beside the checkout.
fn sample_path(context: &Context, name: &str) -> PathBuf {
    context.root.join("../shared/samples").join(name)
}

/// Writes all of them below `root`.
pub fn place(context: &Context, files: &BTreeMap<String, GivenFile>, root: &Path) -> Result<()> {
    for (path, file) in files {
        let content = match file {
            GivenFile::Packaged { package, file } => {
                let store = Store::open(context)?;
                read(&packages::unpacked(context, &store, package)?.join(file))?
            }
            GivenFile::Written { text } => text.as_bytes().to_vec(),
            GivenFile::Sample { sample } => {
                let path = sample_path(context, sample);
                unpacked(&path, read(&path)?)?
            }
        };
        write(&root.join(path), content)?;
    }
    Ok(())
}

fn unpacked(path: &Path, bytes: Vec<u8>) -> Result<Vec<u8>> {
    if path.extension().is_none_or(|extension| extension != "gz") {
        return Ok(bytes);
    }
    let mut content = Vec::new();
    GzDecoder::new(&bytes[..])
        .read_to_end(&mut content)
        .with_context(|| format!("{} can't be unpacked", path.display()))?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn samples_are_unpacked_and_missing_ones_are_named() {
        let base = std::env::temp_dir().join(format!("given-files-{}", std::process::id()));
        let samples = base.join("shared/samples");
        std::fs::create_dir_all(&samples).unwrap();
        std::fs::create_dir_all(base.join("checkout")).unwrap();
        let context = Context::at(base.join("checkout"), true);
        let files = |sample: &str| {
            let sample = sample.to_owned();
            BTreeMap::from([("a/b".to_owned(), GivenFile::Sample { sample })])
        };
        assert!(
            missing_sample(&context, &files("dos.gz")).is_some_and(|path| path.ends_with("dos.gz"))
        );

        let mut packed = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        packed.write_all(b"diskette").unwrap();
        std::fs::write(samples.join("dos.gz"), packed.finish().unwrap()).unwrap();
        assert_eq!(missing_sample(&context, &files("dos.gz")), None);
        place(&context, &files("dos.gz"), &base).unwrap();
        assert_eq!(std::fs::read(base.join("a/b")).unwrap(), b"diskette");
        std::fs::remove_dir_all(base).unwrap();
    }
}
