//! A VHDX that means harm.

use crate::bounded::Bounded;
use crate::{checksums, exercise, scatter};
use vhdx::{Info, Vhdx};

/// Tries a VHDX; see the crate.
pub fn vhdx(input: &[u8]) {
    let mut image = scatter::unpack(input);
    checksums::mend_vhdx(&mut image);
    let file = Bounded::new(image);
    // Whatever it finds.
    let _ = vhdx::check(&mut file.clone());
    let _ = Info::read(&mut file.clone());
    for writable in [false, true] {
        let Ok(mut disk) = Vhdx::open(file.clone(), None, writable) else {
            return;
        };
        let _ = exercise::read(&mut disk);
        if writable {
            let _ = exercise::write(&mut disk);
        }
    }
}
