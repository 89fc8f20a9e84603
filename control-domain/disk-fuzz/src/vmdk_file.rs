//! A VMDK that means harm.

use crate::bounded::Bounded;
use crate::{exercise, scatter};
use disk_testing::Image;
use vmdk::Vmdk;

/// Bytes of a file that a descriptor names: whatever it is called, it is there.
const EXTENT_FILE: u64 = 1 << 20;

/// Tries a VMDK; see the crate. An input that begins as a descriptor does is one.
pub fn vmdk(input: &[u8]) {
    let image = match vmdk::looks_like_descriptor(input) {
        true => Image::new(input),
        false => scatter::unpack(input),
    };
    let mut resolver = |_: &str| Ok(Bounded::new(Image::zeros(EXTENT_FILE)));
    if let Ok(mut disk) = Vmdk::open(Bounded::new(image), &mut resolver) {
        let _ = exercise::read(&mut disk);
    }
}
