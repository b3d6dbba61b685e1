//! SURBs that are out: what is needed to read the reply that comes by each, and whose it is.

use super::InboxId;
use fogbank_model::MixId;
use fogbank_sphinx::SurbSecret;
use std::collections::{HashMap, VecDeque};

/// SURBs out at once: 64 mailboxes of 384, some 200 bytes each. Beyond, the oldest is forgotten; its reply would be noise to us.
const MAX_OUT: usize = 24_576;

/// What is kept of one SURB.
pub(super) struct Out {
    pub(super) secret: SurbSecret,
    pub(super) inbox: InboxId,
    pub(super) via: MixId,
}

/// The table of SURBs that are out.
#[derive(Default)]
pub(super) struct SurbsOut {
    out: HashMap<[u8; 16], Out>,
    order: VecDeque<[u8; 16]>,
}

impl SurbsOut {
    pub(super) fn insert(&mut self, id: [u8; 16], out: Out) {
        if self.order.len() >= MAX_OUT {
            // Those that came back give their places first.
            let Self { out, order } = self;
            order.retain(|id| out.contains_key(id));
        }
        while self.order.len() >= MAX_OUT {
            if let Some(oldest) = self.order.pop_front() {
                self.out.remove(&oldest);
            }
        }
        self.order.push_back(id);
        self.out.insert(id, out);
    }

    /// Each is taken once.
    pub(super) fn take(&mut self, id: &[u8; 16]) -> Option<Out> {
        self.out.remove(id)
    }

    /// Forgets those of an inbox that is closed.
    pub(super) fn forget(&mut self, inbox: InboxId) {
        self.out.retain(|_, o| o.inbox != inbox);
        let Self { out, order } = self;
        order.retain(|id| out.contains_key(id));
    }
}
