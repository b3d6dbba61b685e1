//! The local control interface: what the command line and the window ask of the running node of a profile.
//!
//! One request and one reply, each a line of JSON, over a local socket that only the owner can open ([`server`], [`client`]), or the same
//! types by a call within the process when the window hosts the node. Times are milliseconds since 1970, amounts are in people's units.

pub mod client;
mod container;
mod federation;
mod load;
mod network;
pub mod server;
mod types;

pub use container::{
    ContainerDetailDto, ContainerDto, ExplainedDto, FitDto, InstanceDto, OutlookDto, RehearsedDto, StepDto, UpdateDto, VerdictDto,
};
pub use federation::{FederatedFogDto, FederationDto, WitnessesDto};
pub use load::{LoadDto, LoadNowDto, LoadRowDto, LoadSpanDto};
pub use network::{
    AdversaryDto, GradeDto, LevelPrivacyDto, NetworkDto, PeerDto, PrivacyDto, RelayDto, RelayStateDto, TrustDto, ViewDto,
    VisitDto,
};
pub use types::{
    Amounts, ControlError, ControlErrorKind, ControlReply, ControlRequest, DeviceDto, FogDto, FolderDto, LendDto, LevelDto,
    ProgressDto, RoleDto, StatusDto,
};
