//! Roles as the store keeps them: bits.

use fogbank_store::RoleBits;
use fogbank_wire::Roles;

const AGENT: i64 = 1;
const MIXNODE: i64 = 2;
const PUBLISHER: i64 = 4;
const ADMIN: i64 = 8;

pub(crate) fn to_bits(roles: Roles) -> RoleBits {
    let bit = |on: bool, bit: i64| if on { bit } else { 0 };
    RoleBits(bit(roles.agent, AGENT) | bit(roles.mixnode, MIXNODE) | bit(roles.publisher, PUBLISHER) | bit(roles.admin, ADMIN))
}

pub(crate) fn from_bits(bits: RoleBits) -> Roles {
    let has = |bit: i64| bits.0 & bit != 0;
    Roles { agent: has(AGENT), mixnode: has(MIXNODE), publisher: has(PUBLISHER), admin: has(ADMIN) }
}
