//! How the kernel's bridge behind a switch is called.

use uuid::Uuid;

/// Names of bridges are derived below this one.
const NAMESPACE: Uuid = Uuid::from_bytes(*b"entente switches");

/// The switch that is always there: Hyper-V's name for it.
pub const DEFAULT_SWITCH: &str = "Default Switch";

/// The bridge of a switch. Interfaces have names of 15 bytes, switches any; the bridge's alias is the
/// switch's own name.
pub fn bridge_name(switch: &str) -> String {
    let id = Uuid::new_v5(&NAMESPACE, switch.as_bytes());
    let [a, b, c, d, ..] = id.into_bytes();
    format!("switch-{:08x}", u32::from_be_bytes([a, b, c, d]))
}
