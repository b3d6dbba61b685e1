//! What an administrator says about members on the command line.

use clap::Args;
use fogbank_node::control::ControlRequest;

/// Whom to remove.
#[derive(Debug, Args)]
pub(crate) struct Removal {
    /// Its id, as `devices` prints it.
    device: String,
    /// Remove its owner: all other devices of the same person as well, and what the person published.
    #[arg(long)]
    person: bool,
    /// Make all invites void as well: whoever has kept a ticket that holds could come back under another key.
    #[arg(long)]
    void_invites: bool,
    /// Let whoever was removed with this device join again, by a ticket.
    #[arg(long, conflicts_with_all = ["person", "void_invites"])]
    undo: bool,
}

impl Removal {
    pub(crate) fn request(&self) -> ControlRequest {
        let Self { device, person, void_invites, undo } = self;
        ControlRequest::Remove { device: device.clone(), person: *person, void_invites: *void_invites, undo: *undo }
    }
}
