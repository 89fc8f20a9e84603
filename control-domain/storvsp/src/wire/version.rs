//! Versions of the protocol.

/// Major in the upper byte, minor in the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u16);

impl Version {
    /// Windows 7, Server 2008 R2.
    pub const WIN7: Version = Version(0x0402);
    /// Windows 8, Server 2012: requests have grown.
    pub const WIN8: Version = Version(0x0501);
    /// Windows 8.1, Server 2012 R2.
    pub const BLUE: Version = Version(0x0600);
    /// Windows 10, Server 2016.
    pub const THRESHOLD: Version = Version(0x0602);

    /// Whether it is served.
    pub fn is_supported(self) -> bool {
        [Self::WIN7, Self::WIN8, Self::BLUE, Self::THRESHOLD].contains(&self)
    }
}
