//! Operation codes.

/// First byte of a command; unknown ones survive. Source: SPC-4 annex E.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Opcode(pub u8);

#[allow(missing_docs)] // The names are the standards'.
impl Opcode {
    pub const TEST_UNIT_READY: Opcode = Opcode(0x00);
    pub const REQUEST_SENSE: Opcode = Opcode(0x03);
    pub const READ_6: Opcode = Opcode(0x08);
    pub const WRITE_6: Opcode = Opcode(0x0a);
    pub const INQUIRY: Opcode = Opcode(0x12);
    pub const MODE_SENSE_6: Opcode = Opcode(0x1a);
    pub const START_STOP_UNIT: Opcode = Opcode(0x1b);
    pub const PREVENT_ALLOW: Opcode = Opcode(0x1e);
    pub const READ_CAPACITY_10: Opcode = Opcode(0x25);
    pub const READ_10: Opcode = Opcode(0x28);
    pub const WRITE_10: Opcode = Opcode(0x2a);
    pub const WRITE_AND_VERIFY_10: Opcode = Opcode(0x2e);
    pub const VERIFY_10: Opcode = Opcode(0x2f);
    pub const SYNCHRONIZE_CACHE_10: Opcode = Opcode(0x35);
    pub const WRITE_SAME_10: Opcode = Opcode(0x41);
    pub const UNMAP: Opcode = Opcode(0x42);
    pub const READ_TOC: Opcode = Opcode(0x43);
    pub const GET_CONFIGURATION: Opcode = Opcode(0x46);
    pub const GET_EVENT_STATUS: Opcode = Opcode(0x4a);
    pub const READ_DISC_INFORMATION: Opcode = Opcode(0x51);
    pub const MODE_SENSE_10: Opcode = Opcode(0x5a);
    pub const READ_16: Opcode = Opcode(0x88);
    pub const WRITE_16: Opcode = Opcode(0x8a);
    pub const VERIFY_16: Opcode = Opcode(0x8f);
    pub const SYNCHRONIZE_CACHE_16: Opcode = Opcode(0x91);
    pub const WRITE_SAME_16: Opcode = Opcode(0x93);
    pub const SERVICE_ACTION_IN_16: Opcode = Opcode(0x9e);
    pub const REPORT_LUNS: Opcode = Opcode(0xa0);
    pub const READ_12: Opcode = Opcode(0xa8);
    pub const WRITE_12: Opcode = Opcode(0xaa);
    pub const VERIFY_12: Opcode = Opcode(0xaf);
    pub const MECHANISM_STATUS: Opcode = Opcode(0xbd);

    /// Bytes of a command with this code, if its group has a fixed length (SPC-4 §4.2.5.1).
    pub fn command_length(self) -> Option<usize> {
        match self.0 >> 5 {
            0 => Some(6),
            1 | 2 => Some(10),
            4 => Some(16),
            5 => Some(12),
            _ => None,
        }
    }
}
