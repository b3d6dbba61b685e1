//! Resource vectors in four dimensions, in whole units so that sums are exact.

use crate::Dimension;
use serde::{Deserialize, Serialize};

/// An amount in each dimension: an offer, a requirement, or what an instance was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
pub struct Resources {
    /// Thousandths of a processor core.
    pub cpu_millicores: u64,
    /// Memory, MB (10⁶ bytes).
    pub memory_mb: u64,
    /// Disk, MB.
    pub storage_mb: u64,
    /// Bandwidth, thousand bits a second.
    pub bandwidth_kbps: u64,
}

/// Why a number that a person gave is no requirement.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RequirementError {
    /// Not a number, infinite, zero or negative.
    #[error("{dimension} must be a positive number, not {given}")]
    NotPositive {
        /// Which of the four.
        dimension: Dimension,
        /// What was given.
        given: f64,
    },
    /// More than any device could have.
    #[error("{dimension} of {given} is more than any device has (at most {limit})")]
    TooLarge {
        /// Which of the four.
        dimension: Dimension,
        /// What was given, in the dimension's shown unit.
        given: f64,
        /// The largest that is taken.
        limit: f64,
    },
}

impl Resources {
    /// Nothing in every dimension.
    pub const ZERO: Self = Self { cpu_millicores: 0, memory_mb: 0, storage_mb: 0, bandwidth_kbps: 0 };

    /// The largest vector that is believed of a device or taken as a requirement: 1,024 cores, 16 TB of memory, 1 PB of disk,
    /// 1 Tbit/s. Sums over 100,000 such devices stay below 2⁵³, so they are exact even as `f64`.
    pub const LIMIT: Self =
        Self { cpu_millicores: 1_024_000, memory_mb: 16_000_000, storage_mb: 1_000_000_000, bandwidth_kbps: 1_000_000_000 };

    /// Parses what a person asks for: cores, MB, MB, Mbit/s; each positive, finite and within [`Self::LIMIT`].
    ///
    /// # Errors
    /// The first dimension that is not so.
    pub fn parse(cpu_cores: f64, memory_mb: f64, storage_mb: f64, bandwidth_mbps: f64) -> Result<Self, RequirementError> {
        let given = [cpu_cores, memory_mb, storage_mb, bandwidth_mbps];
        let mut parsed = Self::ZERO;
        for (dimension, given) in Dimension::ALL.into_iter().zip(given) {
            if !given.is_finite() || given <= 0.0 {
                return Err(RequirementError::NotPositive { dimension, given });
            }
            let limit = Self::LIMIT.get(dimension);
            let units = (given * dimension.units_per_shown() as f64).ceil();
            if units > limit as f64 {
                let limit = limit as f64 / dimension.units_per_shown() as f64;
                return Err(RequirementError::TooLarge { dimension, given, limit });
            }
            // In range by the checks above.
            parsed.set(dimension, units as u64);
        }
        Ok(parsed)
    }

    /// The amount in one dimension.
    pub fn get(&self, dimension: Dimension) -> u64 {
        match dimension {
            Dimension::Cpu => self.cpu_millicores,
            Dimension::Memory => self.memory_mb,
            Dimension::Storage => self.storage_mb,
            Dimension::Bandwidth => self.bandwidth_kbps,
        }
    }

    /// Sets the amount in one dimension.
    pub fn set(&mut self, dimension: Dimension, amount: u64) {
        match dimension {
            Dimension::Cpu => self.cpu_millicores = amount,
            Dimension::Memory => self.memory_mb = amount,
            Dimension::Storage => self.storage_mb = amount,
            Dimension::Bandwidth => self.bandwidth_kbps = amount,
        }
    }

    /// Builds a vector dimension by dimension.
    pub fn from_fn(amount: impl FnMut(Dimension) -> u64) -> Self {
        let [cpu_millicores, memory_mb, storage_mb, bandwidth_kbps] = Dimension::ALL.map(amount);
        Self { cpu_millicores, memory_mb, storage_mb, bandwidth_kbps }
    }

    /// Whether every dimension is at least that of `need`.
    pub fn covers(&self, need: &Self) -> bool {
        Dimension::ALL.into_iter().all(|d| self.get(d) >= need.get(d))
    }

    /// Sum in each dimension; stops at the largest number.
    pub fn plus(&self, other: &Self) -> Self {
        Self::from_fn(|d| self.get(d).saturating_add(other.get(d)))
    }

    /// Difference in each dimension, not below zero.
    pub fn minus(&self, other: &Self) -> Self {
        Self::from_fn(|d| self.get(d).saturating_sub(other.get(d)))
    }

    /// The smaller in each dimension.
    pub fn min(&self, other: &Self) -> Self {
        Self::from_fn(|d| self.get(d).min(other.get(d)))
    }

    /// The larger in each dimension.
    pub fn max(&self, other: &Self) -> Self {
        Self::from_fn(|d| self.get(d).max(other.get(d)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_is_no_amount() {
        for bad in [f64::NAN, f64::INFINITY, -1.0, 0.0, -0.0] {
            assert!(matches!(Resources::parse(bad, 1.0, 1.0, 1.0), Err(RequirementError::NotPositive { .. })), "{bad}");
            assert!(matches!(Resources::parse(1.0, 1.0, 1.0, bad), Err(RequirementError::NotPositive { .. })), "{bad}");
        }
        let error = Resources::parse(1.0, 1e300, 1.0, 1.0).unwrap_err().to_string();
        assert!(error.contains("memory"), "{error}");
    }

    proptest! {
        #[test]
        fn parse_never_gives_less_than_asked(cpu in 0.0001f64..1000.0, mb in 0.0001f64..1e6) {
            let parsed = Resources::parse(cpu, mb, mb, 1.0).unwrap();
            prop_assert!(parsed.cpu_millicores as f64 >= cpu * 1000.0);
            prop_assert!(parsed.memory_mb as f64 >= mb);
            prop_assert!(Resources::LIMIT.covers(&parsed));
        }
    }
}
