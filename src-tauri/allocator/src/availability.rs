//! How likely a device stays. A first, honest guess from its power alone; its own history replaces it later.

use fogbank_wire::Power;

/// Probability in [0,1] that a device of this power stays for the next day: desktops of shared computer rooms are up three quarters of
/// the time; laptops on their battery half of it.
pub(crate) fn guess(power: Option<Power>) -> f64 {
    match power {
        Some(Power::Mains) => 0.9,
        Some(Power::Battery { charging: true, .. }) => 0.8,
        Some(Power::Battery { charging: false, .. }) | None => 0.5,
    }
}

/// Below this charge a device that does not charge is drained.
pub(crate) const LOW_BATTERY: f32 = 0.2;

/// Whether a device should be left because its battery runs low.
pub(crate) fn runs_low(power: Power) -> bool {
    matches!(power, Power::Battery { share, charging: false } if share < LOW_BATTERY)
}
