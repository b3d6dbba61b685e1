//! The line to a member: its connection as the allocator uses it.

use fogbank_wire::{CallError, DeviceReply, DeviceRequest, call};
use futures_util::future::BoxFuture;
use iroh::endpoint::{Connection, VarInt};
use std::{fmt, sync::Arc, time::Duration};
use tokio::time::timeout;

/// What the allocator does with a member's connection. The simulation has lines of its own, on which requests are lost, late or doubled.
pub(crate) trait Line: fmt::Debug + Send + Sync {
    /// Asks the member, and waits so long for its answer.
    fn call<'a>(&'a self, request: &'a DeviceRequest, within: Duration) -> BoxFuture<'a, Result<DeviceReply, CallError>>;
    /// Ends it, with a word for the member's log.
    fn close(&self, why: &'static str);
    /// Resolves when it has ended.
    fn closed(&self) -> BoxFuture<'_, ()>;
}

impl Line for Connection {
    fn call<'a>(&'a self, request: &'a DeviceRequest, within: Duration) -> BoxFuture<'a, Result<DeviceReply, CallError>> {
        Box::pin(async move { timeout(within, call(self, request)).await.unwrap_or(Err(CallError::TimedOut(within))) })
    }

    fn close(&self, why: &'static str) {
        Self::close(self, VarInt::from_u32(0), why.as_bytes());
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            Self::closed(self).await;
        })
    }
}

/// Whether two handles are of one line.
pub(crate) fn same(one: &Arc<dyn Line>, other: &Arc<dyn Line>) -> bool {
    Arc::ptr_eq(one, other)
}
