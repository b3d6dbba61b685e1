//! What is written to a terminal, or to a program that reads here. One that has read enough and left, as `head` does, is no failure.

use std::io;

/// Writes an answer.
///
/// # Errors
/// When it can't be written, though somebody reads.
pub(crate) fn say(text: &str) -> io::Result<()> {
    heard(write(io::stdout().lock(), text))
}

/// Writes why something failed. When that fails, there is nobody to tell.
pub(crate) fn complain(text: &str) {
    let _ = write(io::stderr().lock(), text);
}

fn write(mut to: impl io::Write, text: &str) -> io::Result<()> {
    to.write_all(text.as_bytes())?;
    to.flush()
}

fn heard(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
