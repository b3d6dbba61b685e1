//! The folder that is published: the user's, or a sample with every kind of name and size.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// All files together at most: what the demo fetches through the mixes.
const MAX_BYTES: u64 = 100_000_000;
/// Size of the sample's large file: long enough that a throttled download straddles a drain.
const LARGE_BYTES: usize = 6_000_000;

/// A folder and what is in it.
pub(crate) struct Site {
    /// Where.
    pub(crate) folder: PathBuf,
    /// Paths of its files, relative, with `/`.
    pub(crate) files: Vec<String>,
    /// Bytes in all.
    pub(crate) bytes: u64,
    /// The largest file.
    pub(crate) largest: String,
}

impl Site {
    /// Lists a folder.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let folder = std::path::absolute(folder)?;
        let (mut files, mut bytes, mut largest, mut open) = (Vec::new(), 0, (0, String::new()), vec![folder.clone()]);
        while let Some(inner) = open.pop() {
            for entry in std::fs::read_dir(&inner).with_context(|| format!("reading {}", inner.display()))? {
                let path = entry?.path();
                if path.is_dir() {
                    open.push(path);
                    continue;
                }
                let name = path.strip_prefix(&folder)?.to_str().context("a file name is no Unicode")?.replace('\\', "/");
                let size = path.metadata()?.len();
                bytes += size;
                largest = largest.max((size, name.clone()));
                files.push(name);
            }
        }
        files.sort();
        ensure!(
            bytes <= MAX_BYTES,
            "the demo fetches every file through the mixes and takes at most {MAX_BYTES} bytes, not {bytes}"
        );
        Ok(Self { folder, files, bytes, largest: largest.1 })
    }

    /// Makes a sample site: pages, styles, a picture, names with spaces and Unicode, an empty file, and one large file of noise.
    pub(crate) fn sample(folder: &Path) -> Result<Self> {
        let file = |name: &str, content: &[u8]| -> Result<()> {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().context("no folder")?)?;
            std::fs::write(path, content).context("writing the sample")
        };
        file("index.html", b"<!doctype html><meta charset=utf-8><title>Fog</title><link rel=stylesheet href=style.css><h1>Hello from the fog</h1>")?;
        file("style.css", b"body { font: 1.1rem system-ui; margin: 4rem auto; max-width: 40rem }")?;
        file("docs/index.html", b"<!doctype html><title>Docs</title><p>A folder with a page of its own.")?;
        file("docs/two words.txt", b"a name with a space\n")?;
        file("bilder/\u{fc}ber uns \u{1f32b}.html", "<!doctype html><meta charset=utf-8><p>\u{fc}ber uns".as_bytes())?;
        file("empty.txt", b"")?;
        file("100%.txt", b"a name with a percent sign\n")?;
        for n in 0..20 {
            file(&format!("pages/{n}.html"), format!("<!doctype html><p>page {n}</p>").repeat(50 * (n + 1)).as_bytes())?;
        }
        let noise: Vec<u8> = std::iter::repeat_with(rand::random::<u8>).take(LARGE_BYTES).collect();
        file("large.bin", &noise)?;
        Self::read(folder)
    }

    /// What a file holds.
    pub(crate) fn content(&self, file: &str) -> Result<Vec<u8>> {
        std::fs::read(self.folder.join(file)).with_context(|| format!("reading {file}"))
    }
}
