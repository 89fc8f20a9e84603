//! Files that others made, as data.

use serde::Deserialize;

/// Where a file on a row's data disk comes from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum GivenFile {
    /// A file of a distribution package.
    Packaged {
        /// The package.
        package: String,
        /// The file's path in it.
        file: String,
    },
    /// Text that the row says itself.
    Written {
        /// The text.
        text: String,
    },
    /// One of the samples beside the checkout, unpacked if it is a `.gz`; without it the row is skipped.
    Sample {
        /// Its path among them.
        sample: String,
    },
}
