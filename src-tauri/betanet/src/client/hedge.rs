//! Asking several for the same thing: the next one is asked when one fails, or is slow.

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use std::time::Duration;

/// The first answer of those asked in turn; a further one is asked whenever one fails and each time `patience` passes. `None` when all
/// have failed.
pub(super) async fn first<C, T, F>(candidates: Vec<C>, patience: Duration, ask: impl Fn(C) -> F) -> Option<T>
where
    F: Future<Output = Option<T>>,
{
    let mut left = candidates.into_iter();
    let mut asked = FuturesUnordered::new();
    asked.push(ask(left.next()?));
    loop {
        let next = tokio::select! {
            answer = asked.next() => match answer {
                Some(Some(answer)) => return Some(answer),
                Some(None) => left.next(),
                None => return None,
            },
            () = tokio::time::sleep(patience), if left.len() > 0 => left.next(),
        };
        if let Some(candidate) = next {
            asked.push(ask(candidate));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

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
        assert_eq!(first(vec![1, 2, 3, 4], Duration::from_secs(1), ask).await, Some(3));
        assert_eq!(*asked.borrow(), [1, 2, 3]);
        assert_eq!(first(vec![1, 1], Duration::from_secs(1), ask).await, None);
        assert_eq!(first(Vec::new(), Duration::from_secs(1), ask).await, None);
    }
}
