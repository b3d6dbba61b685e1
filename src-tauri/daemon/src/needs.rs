//! What a publisher asks for on the command line.

use clap::Args;
use fogbank_node::control::Amounts;

/// Storage asked for when none is named and the folder is unknown, MB.
const DEFAULT_STORAGE_MB: f64 = 10.0;

/// What is asked for.
#[derive(Debug, Args)]
pub(crate) struct Needs {
    /// Processor cores for all copies together.
    #[arg(long, default_value_t = 0.1, value_parser = amount, allow_negative_numbers = true)]
    cpu: f64,
    /// Memory for all copies together, MB.
    #[arg(long, default_value_t = 64.0, value_parser = amount, allow_negative_numbers = true)]
    memory: f64,
    /// Storage for all copies together, MB (default: what two copies of the folder need).
    #[arg(long, value_parser = amount, allow_negative_numbers = true)]
    storage: Option<f64>,
    /// Bandwidth for all copies together, Mbit/s.
    #[arg(long, default_value_t = 1.0, value_parser = amount, allow_negative_numbers = true)]
    bandwidth: f64,
    /// Copies at least.
    #[arg(long, default_value_t = 2)]
    pub(crate) copies: u8,
    /// With this probability, in percent, at least one copy's device stays over the next hour; more copies are made where that takes more
    /// (for example 99.9).
    #[arg(long, value_name = "PERCENT", value_parser = amount, allow_negative_numbers = true)]
    availability: Option<f64>,
}

impl Needs {
    pub(crate) fn availability(&self) -> Option<f64> {
        self.availability.map(|percent| percent / 100.0)
    }

    pub(crate) fn amounts(&self, folder_bytes: u64) -> Amounts {
        let folder_mb = folder_bytes as f64 / 1e6;
        let storage_mb =
            self.storage.unwrap_or_else(|| DEFAULT_STORAGE_MB.max((folder_mb.ceil() + 1.0) * f64::from(self.copies)));
        Amounts { cpu_cores: self.cpu, memory_mb: self.memory, storage_mb, bandwidth_mbps: self.bandwidth }
    }
}

/// Copies at most, when their number follows load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Most(pub(crate) Option<u8>);

/// A number of copies, or "none".
pub(crate) fn most(text: &str) -> Result<Most, String> {
    match text {
        "none" => Ok(Most(None)),
        number => number
            .parse()
            .ok()
            .filter(|copies| *copies > 0)
            .map(|copies| Most(Some(copies)))
            .ok_or_else(|| format!("“{text}” is no number of copies: write a whole number above 0, or none")),
    }
}

/// A number above 0.
pub(crate) fn amount(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(amount) if amount.is_finite() && amount > 0.0 => Ok(amount),
        _ => Err(format!("“{text}” is no amount: write a number above 0")),
    }
}

/// Bytes of the files in a folder as far as they can be seen; the node refuses what it can't read. Links are not followed.
pub(crate) fn folder_bytes(folder: &std::path::Path) -> u64 {
    let mut open = vec![folder.to_owned()];
    let mut bytes = 0u64;
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(data) if data.is_dir() => open.push(entry.path()),
                Ok(data) => bytes = bytes.saturating_add(data.len()),
                Err(_) => {}
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        assert_eq!(amount("0.25"), Ok(0.25));
        for wrong in ["0", "-1", "NaN", "inf", "-inf", "1e999", "much", ""] {
            assert!(amount(wrong).is_err_and(|words| words.contains("above 0")), "{wrong}");
        }
    }

    #[test]
    fn copies_at_most() {
        assert_eq!((most("6"), most("none")), (Ok(Most(Some(6))), Ok(Most(None))));
        for wrong in ["0", "-1", "256", "NaN", "many", ""] {
            assert!(most(wrong).is_err_and(|words| words.contains("or none")), "{wrong}");
        }
    }
}
