//! Who a unit is, for a guest that recognizes its disks again.

/// A number that stays with a disk for its life, such as the identifier in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity(pub [u8; 16]);

/// Microsoft's company number, with the type of the identifier (6) before it.
const NAA_MICROSOFT: [u8; 4] = [0x60, 0x02, 0x24, 0x80];

impl Identity {
    /// The unit serial number: 32 digits.
    pub fn serial_number(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The worldwide name: NAA, IEEE Registered Extended (SPC-4 §7.8.6.6.5). Hyper-V's disks have such
    /// names, and Linux makes `/dev/disk/by-id/wwn-0x60022480…` of them.
    pub fn worldwide_name(&self) -> [u8; 16] {
        let mut name = self.0;
        let (head, tail) = name.split_at_mut(4);
        for (byte, folded) in tail.iter_mut().zip(head.iter()) {
            // Turned, so that no two identities that differ in one bit meet.
            *byte ^= folded.rotate_left(3);
        }
        head.copy_from_slice(&NAA_MICROSOFT);
        name
    }
}
