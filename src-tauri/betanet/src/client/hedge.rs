//! Asking several for the same thing: the next one is asked when one fails, or is slow.

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How many to ask and to wait for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    /// So many are asked at once.
    pub(super) at_once: usize,
    /// With so many answers it is enough.
    pub(super) enough: usize,
    /// A further one is asked each time this passes.
    pub(super) patience: Duration,
    /// After the first answer the others are waited for no longer than this.
    pub(super) linger: Duration,
}

/// The answers of those asked, up to `enough`; a further one is asked whenever one fails and each time `patience` passes. Empty when all
/// have failed.
pub(super) async fn several<C, T, F>(candidates: Vec<C>, how: Ask, ask: impl Fn(C) -> F) -> Vec<T>
where
    F: Future<Output = Option<T>>,
{
    let mut left = candidates.into_iter();
    let mut asked: FuturesUnordered<F> = left.by_ref().take(how.at_once).map(&ask).collect();
    let mut answers = Vec::new();
    let mut until: Option<Instant> = None;
    while answers.len() < how.enough {
        let give_up = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let next = tokio::select! {
            answer = asked.next() => match answer {
                Some(Some(answer)) => {
                    answers.push(answer);
                    until.get_or_insert_with(|| Instant::now() + how.linger);
                    None
                }
                Some(None) => left.next(),
                None => break,
            },
            () = give_up => break,
            () = tokio::time::sleep(how.patience), if left.len() > 0 => left.next(),
        };
        asked.extend(next.map(&ask));
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    const HOW: Ask = Ask { at_once: 1, enough: 1, patience: Duration::from_secs(1), linger: Duration::from_secs(2) };

    #[tokio::test(start_paused = true)]
    async fn goes_on_when_one_fails_or_is_slow() {
        let asked = RefCell::new(Vec::new());
        let ask = |n: u32| {
            asked.borrow_mut().push(n);
            async move {
                match n {
                    1 => None,
                    2 => std::future::pending().await,
                    n => Some(n),
                }
            }
        };
        assert_eq!(several(vec![1, 2, 3, 4], HOW, ask).await, [3]);
        assert_eq!(*asked.borrow(), [1, 2, 3]);
        assert!(several(vec![1, 1], HOW, ask).await.is_empty());
        assert!(several(Vec::new(), HOW, ask).await.is_empty());
        // Two answers are waited for, but not for ever, and no longer than it takes when all have failed.
        let two = Ask { at_once: 3, enough: 2, ..HOW };
        assert_eq!(several(vec![2, 3, 4, 5], two, ask).await, [3, 4]);
        let began = Instant::now();
        assert_eq!(several(vec![3, 2, 2], two, ask).await, [3]);
        assert_eq!(began.elapsed(), HOW.linger);
        assert_eq!(several(vec![3, 1, 1], two, ask).await, [3]);
    }
}
