//! What the window may ask: how far the way to the node is, and then whatever the node answers.

use crate::opening::{Opening, SessionDto};
use fogbank_node::control::{ControlError, ControlErrorKind, ControlReply, ControlRequest};
use tauri::State;

/// How far the way to the node is.
#[tauri::command]
pub(crate) fn session(opening: State<'_, Opening>) -> SessionDto {
    opening.view()
}

/// Asks the node.
#[tauri::command]
pub(crate) async fn call(opening: State<'_, Opening>, request: ControlRequest) -> Result<ControlReply, ()> {
    Ok(match opening.session() {
        Some(session) => session.call(request).await,
        None => ControlReply::Failed(ControlError {
            kind: ControlErrorKind::Failed,
            what: "the node is not running yet".to_owned(),
            todo: "Wait a moment and try again.".to_owned(),
        }),
    })
}
