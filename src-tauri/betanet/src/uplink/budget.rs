//! What an owner allows for cover at level strict, and the rule that follows. Pure.
//!
//! A host at level strict sends and takes one frame a slot whether anybody visits or not. It may do so only if that is within a fifth of what
//! its owner allows the network, per second and, if there is a limit of the month, over the month; and **when the budget is spent it leaves
//! the role**. Thinner cover would show when somebody visits, to whoever watches, and to nobody else.

use crate::{link::LINK_FRAME_BYTES, schedule::CONSTANT_SLOT};

/// A share of one fifth of the owner's bandwidth.
const OF_THE_CAP: u64 = 5;

/// Why level strict is not offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoBudget {
    /// The owner's rate is too low.
    #[error(
        "level strict takes {needed_bytes_s} bytes a second each way at all times, more than a fifth of the {cap_bytes_s} that the owner allows"
    )]
    Rate {
        /// What it takes.
        needed_bytes_s: u64,
        /// What there is.
        cap_bytes_s: u64,
    },
    /// What was declared is used up.
    #[error("this month's share for the cover of level strict is used up")]
    Spent,
}

/// Bytes a second, each way, of a link of constant rate; QUIC's own are some 3 % more.
pub const fn constant_bytes_s() -> u64 {
    LINK_FRAME_BYTES as u64 * 1_000 / CONSTANT_SLOT.as_millis() as u64
}

/// A declared budget and what is left of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoverBudget {
    left: Option<u64>,
}

impl CoverBudget {
    /// Declares a fifth of what the owner allows: bytes a second each way (`None`: no limit), and bytes of both ways in the month, of which
    /// so many are spent already.
    ///
    /// # Errors
    /// When that does not carry a link of constant rate.
    pub fn declare(cap_bytes_s: Option<u64>, month_bytes: Option<u64>, spent: u64) -> Result<Self, NoBudget> {
        let needed_bytes_s = constant_bytes_s();
        if let Some(cap_bytes_s) = cap_bytes_s.filter(|cap| cap / OF_THE_CAP < needed_bytes_s) {
            return Err(NoBudget::Rate { needed_bytes_s, cap_bytes_s });
        }
        let budget = Self { left: month_bytes.map(|month| (month / OF_THE_CAP).saturating_sub(spent)) };
        budget.holds()?;
        Ok(budget)
    }

    /// Cover was sent or taken: frames that carried nothing.
    pub fn spend(&mut self, frames: u64) {
        self.left = self.left.map(|left| left.saturating_sub(frames.saturating_mul(LINK_FRAME_BYTES as u64)));
    }

    /// Whether there is anything left.
    ///
    /// # Errors
    /// When not: then the role is left at once.
    pub fn holds(&self) -> Result<(), NoBudget> {
        if self.left == Some(0) { Err(NoBudget::Spent) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_the_cap_carries_it_or_it_is_not_offered() {
        assert!(CoverBudget::declare(Some(1_000_000), None, 0).is_ok(), "what an owner lends by default just does");
        assert!(matches!(CoverBudget::declare(Some(900_000), None, 0), Err(NoBudget::Rate { .. })));
        assert!(CoverBudget::declare(None, None, u64::MAX).is_ok());
    }

    #[test]
    fn it_ends_when_it_is_spent_and_is_never_stretched() {
        let mut budget = CoverBudget::declare(Some(1_000_000), Some(50_000_000_000), 0).unwrap();
        let frames = 10_000_000_000 / LINK_FRAME_BYTES as u64;
        budget.spend(frames);
        assert!(budget.holds().is_ok());
        budget.spend(1);
        assert_eq!(budget.holds(), Err(NoBudget::Spent));
        assert_eq!(CoverBudget::declare(Some(1_000_000), Some(50_000_000_000), 10_000_000_000), Err(NoBudget::Spent));
    }
}
