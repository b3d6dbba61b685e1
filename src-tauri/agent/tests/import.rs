//! Folders become bundles, or are refused with the path and the reason.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::{noise, site};
use fogbank_agent::bundle::{Bundles, ImportError, ImportedBundle, Limits, NameFault};
use std::{fs, path::Path};
use tempfile::TempDir;

async fn bundles() -> (Bundles, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Bundles::open(folder.path()).await.unwrap(), folder)
}

async fn import(folder: &Path) -> Result<ImportedBundle, ImportError> {
    let (bundles, _kept) = bundles().await;
    let imported = bundles.import(folder, &Limits::default(), |_| ()).await;
    assert_eq!(bundles.held().borrow().len(), usize::from(imported.is_ok()), "a refused folder leaves nothing");
    imported
}

/// The refusal, as people read it. It names the path.
async fn refused(folder: &Path, path: &Path) -> (ImportError, String) {
    let error = import(folder).await.unwrap_err();
    let words = error.to_string();
    assert!(words.contains(&path.display().to_string()), "{words}");
    (error, words)
}

#[tokio::test]
async fn equal_folders_are_not_told_apart_by_their_ids_and_odd_names_are_fine() {
    let large = noise(b"large", 3_000_000);
    let files: Vec<(&str, &[u8])> = vec![
        ("index.html", b"<h1>hello</h1>"),
        ("a b/\u{fc}ber \u{65e5}\u{672c}.txt", b"spaces and Unicode"),
        ("copy.html", b"<h1>hello</h1>"),
        ("empty.txt", b""),
        ("..not up/...", b"dots in names are no dots"),
        ("large.bin", &large),
    ];
    let one = import(site(&files).path()).await.unwrap();
    let (other, _kept) = bundles().await;
    let mut progress = std::sync::Mutex::new((0, 0));
    let told = |p: fogbank_agent::bundle::ImportProgress| *progress.lock().unwrap() = (p.done_bytes, p.total_bytes);
    let reversed = site(&files.iter().rev().copied().collect::<Vec<_>>());
    let two = other.import(reversed.path(), &Limits::default(), told).await.unwrap();
    assert_eq!((one.files, one.bytes), (two.files, two.bytes));
    assert_ne!(one.id, two.id, "whoever has the same files can't compute which bundle is theirs");
    assert_eq!((one.files, one.bytes), (6, 3_000_000 + 14 * 2 + 18 + 25));
    assert_eq!(*progress.get_mut().unwrap(), (one.bytes, one.bytes));
}

#[tokio::test]
async fn folders_that_are_no_sites() {
    let empty = tempfile::tempdir().unwrap();
    fs::create_dir(empty.path().join("nothing in here")).unwrap();
    assert!(matches!(refused(empty.path(), empty.path()).await.0, ImportError::Empty { .. }));
    let pageless = site(&[("sub/index.html", b"x")]);
    let (error, words) = refused(pageless.path(), pageless.path()).await;
    assert!(matches!(error, ImportError::NoIndex { .. }) && words.contains("index.html"), "{words}");
    let file = pageless.path().join("sub/index.html");
    assert!(matches!(refused(&file, &file).await.0, ImportError::NotAFolder { .. }));
    let missing = pageless.path().join("missing");
    assert!(matches!(refused(&missing, &missing).await.0, ImportError::Unreadable { .. }));
}

#[tokio::test]
async fn over_the_limits_nothing_is_read() {
    let folder = site(&[("index.html", b"12345"), ("b", b"12345"), ("c", b"1")]);
    let (bundles, _kept) = bundles().await;
    let with = async |limits: Limits| bundles.import(folder.path(), &limits, |_| panic!("it was read")).await.unwrap_err();
    let error = with(Limits { max_bytes: 10, ..Limits::default() }).await;
    assert!(matches!(error, ImportError::TooLarge { bytes: 11, limit: 10, .. }), "{error}");
    let error = with(Limits { max_files: 2, ..Limits::default() }).await;
    assert!(matches!(error, ImportError::TooManyFiles { limit: 2, .. }), "{error}");
    let names = Limits { max_manifest_bytes: 20, ..Limits::default() };
    let error = bundles.import(folder.path(), &names, |_| ()).await.unwrap_err();
    assert!(matches!(error, ImportError::NamesTooLong { .. }), "{error}");
    assert!(bundles.held().borrow().is_empty());
    bundles.import(folder.path(), &Limits { max_bytes: 11, max_files: 3, ..Limits::default() }, |_| ()).await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn links_are_followed_inside_and_refused_outside() {
    use std::os::unix::fs::symlink;
    let outside = site(&[("secret", b"secret")]);
    let folder = site(&[("index.html", b"hello"), ("sub/page.html", b"page")]);
    let taken = async |folder: &Path| import(folder).await.map(|b| (b.files, b.bytes)).unwrap();
    symlink("../index.html", folder.path().join("sub/link")).unwrap();
    assert_eq!(taken(folder.path()).await, (3, 5 + 4 + 5), "a link inside is taken as its file");

    let link = folder.path().join("link");
    for target in [outside.path().join("secret"), outside.path().to_owned(), Path::new("../").to_owned()] {
        symlink(&target, &link).unwrap();
        assert!(matches!(refused(folder.path(), &link).await.0, ImportError::LeadsOut { .. }), "{}", target.display());
        fs::remove_file(&link).unwrap();
    }
    symlink("sub", &link).unwrap();
    assert!(matches!(refused(folder.path(), &link).await.0, ImportError::LinkToFolder { .. }));
    fs::remove_file(&link).unwrap();
    for nowhere in ["gone", "link"] {
        symlink(nowhere, &link).unwrap();
        assert!(matches!(refused(folder.path(), &link).await.0, ImportError::DanglingLink { .. }), "{nowhere}");
        fs::remove_file(&link).unwrap();
    }
    // The folder itself may be reached by a link.
    symlink(folder.path(), outside.path().join("to")).unwrap();
    assert_eq!(taken(&outside.path().join("to")).await, (3, 5 + 4 + 5));
}

#[cfg(unix)]
#[tokio::test]
async fn pipes_and_names_that_mislead_are_refused() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, os::unix::net::UnixListener};
    let folder = site(&[("index.html", b"hello")]);
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    assert!(matches!(refused(folder.path(), &socket).await.0, ImportError::Special { .. }));
    drop(listener);
    fs::remove_file(&socket).unwrap();
    for (name, why) in [(&b"new\nline"[..], NameFault::Control), (b"latin1 \xe9", NameFault::NotUnicode)] {
        let file = folder.path().join(OsStr::from_bytes(name));
        fs::write(&file, b"x").unwrap();
        let error = import(folder.path()).await.unwrap_err();
        assert!(matches!(&error, ImportError::Name { path, why: found } if *path == file && *found == why), "{error}");
        fs::remove_file(&file).unwrap();
    }
    let mut deep = folder.path().to_owned();
    for _ in 0..5 {
        deep.push("d".repeat(250));
    }
    fs::create_dir_all(&deep).unwrap();
    let error = import(folder.path()).await.unwrap_err();
    assert!(matches!(error, ImportError::Name { why: NameFault::TooLong, .. }), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_grows_shrinks_or_is_swapped_meanwhile_is_noticed() {
    let large = noise(b"growing", 2_000_000);
    for change in ["grows", "shrinks", "is swapped", "vanishes"] {
        let folder = site(&[("index.html", b"hello"), ("z.bin", &large)]);
        let file = folder.path().join("z.bin");
        let (bundles, _kept) = bundles().await;
        // The first word of progress comes when the files are listed and none is read.
        let once = std::sync::Once::new();
        let told = |_| {
            once.call_once(|| match change {
                "grows" => fs::write(&file, [&large[..], b"more"].concat()).unwrap(),
                "shrinks" => fs::write(&file, &large[1..]).unwrap(),
                "is swapped" => {
                    fs::write(folder.path().join("new"), noise(b"other", 2_000_000)).unwrap();
                    fs::rename(folder.path().join("new"), &file).unwrap();
                }
                _ => fs::remove_file(&file).unwrap(),
            });
        };
        let error = bundles.import(folder.path(), &Limits::default(), told).await.unwrap_err();
        assert!(error.to_string().contains("z.bin"), "{change}: {error}");
        assert_eq!(matches!(error, ImportError::Changed { .. }), change != "vanishes", "{change}: {error}");
        assert!(bundles.held().borrow().is_empty());
    }
}

/// The part of the next test that runs without root's rights, for which no file is unreadable.
#[cfg(unix)]
#[tokio::test]
async fn unreadable_without_rights() {
    let Ok(folder) = std::env::var("FOGBANK_TEST_UNREADABLE") else { return };
    let folder = Path::new(&folder);
    let error = fogbank_agent::bundle::check_folder(folder, &Limits::default());
    // Listing needs no right to read a file; reading does.
    error.expect("it can be listed");
    let kept = tempfile::tempdir().unwrap();
    let bundles = Bundles::open(kept.path()).await.unwrap();
    let error = bundles.import(folder, &Limits::default(), |_| ()).await.unwrap_err();
    assert!(matches!(&error, ImportError::Unreadable { path, .. } if path.ends_with("secret.txt")), "{error}");
    assert!(error.to_string().contains("Permission denied"), "{error}");
}

#[cfg(unix)]
#[test]
fn an_unreadable_file_is_refused() {
    use std::os::unix::{fs::MetadataExt as _, fs::PermissionsExt as _, process::CommandExt as _};
    const NOBODY: u32 = 65_534;
    let folder = site(&[("index.html", b"hello"), ("secret.txt", b"secret")]);
    let secret = folder.path().join("secret.txt");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("../").canonicalize().unwrap().join(format!("fogbank-test-{}", std::process::id()));
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut run = std::process::Command::new(&program);
    run.args(["unreadable_without_rights", "--exact"]).env("FOGBANK_TEST_UNREADABLE", folder.path()).current_dir("/");
    if fs::metadata(&secret).unwrap().uid() == 0 {
        run.uid(NOBODY).gid(NOBODY);
    }
    let ran = run.output();
    fs::remove_file(&program).unwrap();
    let ran = ran.unwrap();
    assert!(ran.status.success(), "{}\n{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(String::from_utf8_lossy(&ran.stdout).contains("1 passed"));
}
