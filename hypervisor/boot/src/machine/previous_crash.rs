//! The crash record across boots: found again, shown, and left to the control domain.

use super::firmware;
use super::serial::{self, log};
use core::sync::atomic::AtomicU8;
use hypervisor_boot::record::{self, Record};
use hypervisor_hal::handoff::Range;
use uefi::boot::MemoryType;
use uefi::runtime::{VariableAttributes, VariableVendor};
use uefi::{cstr16, guid};

/// Where the record may lie. It must be the same place at the next boot, so nothing but a few fixed
/// addresses will do; firmware works at the bottom and the top of memory.
const PLACES: [u64; 4] = [0x0700_0000, 0x1700_0000, 0x3700_0000, 0x0300_0000];

/// Vendor of our UEFI variables.
const VENDOR: VariableVendor = VariableVendor(guid!("7c0e29ab-5c0b-4bd5-9d35-8e4a6e2f1c77"));

/// Most bytes of a record that are left to the control domain: the newest. Firmware sets limits on
/// the size of a variable; each must take 8 KiB to hold the keys of Secure Boot.
const VARIABLE_SIZE: usize = 8 << 10;

/// Takes the memory of the record, shows what a crash left in it, and begins a new one. Returns
/// where it lies; empty if no place was free.
pub fn recover() -> Range {
    for start in PLACES {
        let range = Range {
            start,
            end: start + record::SIZE as u64,
        };
        if firmware::allocate_at(MemoryType::RESERVED, range).is_err() {
            continue;
        }
        // SAFETY: just allocated and never freed; touched as atomics only. Any bytes are valid.
        let cells = unsafe { &*(start as *const [AtomicU8; record::SIZE]) };
        if let Some(record) = Record::new(cells) {
            if record.tells_of_a_crash() {
                show(&record);
            }
            record.begin();
            serial::keep(cells);
        }
        return range;
    }
    log!("no memory for a crash record: crashes are shown on the screen and the serial port only");
    Range::default()
}

/// Shows the record, and leaves it in a variable that lasts until the next reset.
fn show(record: &Record<'_>) {
    log!("the previous run crashed; its last lines were:");
    let mut length = 0;
    record.lines(|line| {
        log!("  | {line}");
        length += line.len() + 1;
    });
    let mut text = [0; VARIABLE_SIZE];
    let (mut skip, mut used) = (length.saturating_sub(VARIABLE_SIZE), 0);
    record.lines(|line: &str| {
        for byte in line.bytes().chain([b'\n']) {
            if skip > 0 {
                skip -= 1;
            } else if let Some(slot) = text.get_mut(used) {
                *slot = byte;
                used += 1;
            }
        }
    });
    let attributes = VariableAttributes::BOOTSERVICE_ACCESS | VariableAttributes::RUNTIME_ACCESS;
    let text = text.get(..used).unwrap_or(&[]);
    if let Err(error) =
        uefi::runtime::set_variable(cstr16!("EntenteCrash"), &VENDOR, attributes, text)
    {
        log!("the crash could not be left to the control domain: {error}");
    }
}
