//! Telling members what they need not say yes to.

use crate::registry::Member;
use fogbank_wire::{CallError, DeviceReply, DeviceRequest, EXCHANGE_DEADLINE};
use std::sync::Arc;

/// Tells a device something whose answer changes nothing.
pub(crate) fn send(member: Member, request: DeviceRequest) {
    tokio::spawn(async move {
        if let Err(error) = member.line.call(&request, EXCHANGE_DEADLINE).await {
            tracing::debug!(%error, device = member.device.short(), "a device did not hear");
        }
    });
}

/// Gives a member directories, one after another: those of other fogs are believed once the own one names these.
pub(crate) fn hand(member: Member, directories: Vec<Arc<Vec<u8>>>) {
    tokio::spawn(async move {
        for bytes in directories {
            if let Err(error) = taken(&member, &bytes).await {
                return tracing::debug!(%error, device = member.device.short(), "a device did not hear");
            }
        }
    });
}

/// Gives a member another fog's directory. The own one that names that fog may still be on its way to it: then it comes first.
pub(crate) fn hand_after(member: Member, own: Option<Arc<Vec<u8>>>, other: Arc<Vec<u8>>) {
    tokio::spawn(async move {
        match (taken(&member, &other).await, own) {
            (Ok(false), Some(own)) => hand(member, vec![own, other]),
            (Err(error), _) => tracing::debug!(%error, device = member.device.short(), "a device did not hear"),
            (Ok(_), _) => {}
        }
    });
}

async fn taken(member: &Member, bytes: &[u8]) -> Result<bool, CallError> {
    match member.line.call(&DeviceRequest::Directory(bytes.to_vec()), EXCHANGE_DEADLINE).await? {
        DeviceReply::Done => Ok(true),
        DeviceReply::Refused(refusal) => {
            tracing::debug!(%refusal, device = member.device.short(), "a device does not take a directory");
            Ok(false)
        }
    }
}
