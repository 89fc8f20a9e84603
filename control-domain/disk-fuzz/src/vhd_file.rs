//! A VHD that means harm.

use crate::bounded::Bounded;
use crate::{checksums, exercise, scatter};
use disk::{Checked, Disk, Raw};
use disk_testing::Image;
use vhd::{DiskType, Located};

/// The largest parent that a differencing disk gets.
const MOST_PARENT: u64 = 1 << 40;

/// Tries a VHD; see the crate.
pub fn vhd(input: &[u8]) {
    let mut image = scatter::unpack(input);
    checksums::mend_vhd(&mut image);
    let file = Bounded::new(image);
    // Whatever it finds.
    let _ = vhd::check(&mut Checked(file.clone()));
    let _ = vhd::repair(&mut Checked(file.clone()));
    for writable in [false, true] {
        let mut storage = Checked(file.clone());
        let Ok(located) = Located::find(&mut storage) else {
            return;
        };
        let size = located.footer.current_size.get();
        let is_child = located
            .footer
            .kind(0)
            .is_ok_and(|kind| kind == DiskType::Differencing);
        let parent = match is_child {
            true if size > MOST_PARENT => return,
            true => {
                let _ = vhd::ParentLink::read(&mut storage, &located.footer);
                let Ok(parent) = Raw::open(Image::zeros(size), false) else {
                    return;
                };
                Some(Box::new(parent) as Box<dyn Disk>)
            }
            false => None,
        };
        let Ok(mut disk) = located.open(storage.0, parent, writable) else {
            return;
        };
        let _ = exercise::read(disk.as_mut());
        if writable {
            let _ = exercise::write(disk.as_mut());
        }
    }
}
