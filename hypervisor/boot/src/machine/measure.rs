//! Measured boot: what systemd-stub measures, where it measures it, and the event log for the
//! kernel (TCG EFI Protocol Specification 2.0; UAPI.5; Linux `linux/efi.h`).

use super::BootError;
use super::firmware;
use super::image::Image;
use super::serial::log;
use alloc::vec::Vec;
use hypervisor_boot::sections::MEASURED;
use uefi::boot::MemoryType;
use uefi::proto::tcg::v2::{HashLogExtendEventFlags, PcrEventInputs, Tcg};
use uefi::proto::tcg::{EventType, PcrIndex};
use uefi::proto::unsafe_protocol;
use uefi::runtime::{VariableAttributes, VariableVendor};
use uefi::{Guid, cstr16, guid};
use uefi_raw::protocol::tcg::v2::{Tcg2EventLogFormat, Tcg2Protocol};

/// The register for what a unified image consists of.
const PCR_IMAGE: PcrIndex = PcrIndex(11);

/// The format of the log, as the kernel's table numbers it.
const FORMAT_2: u8 = 2;

/// Under this the kernel looks for the log (`LINUX_EFI_TPM_EVENT_LOG_GUID`).
static EVENT_LOG_TABLE: Guid = guid!("b7799cb0-eca2-4943-9667-1fae07b747fa");

/// Under this the firmware keeps the events since the log was first asked for.
const FINAL_EVENTS_TABLE: Guid = guid!("1e2ed096-30e2-4254-bd89-863bbef82325");

/// Vendor of the Boot Loader Interface's variables.
const LOADER: VariableVendor = VariableVendor(guid!("4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"));

/// The protocol once more, for the start of the log, which the binding keeps to itself.
#[repr(transparent)]
#[unsafe_protocol(Tcg2Protocol::GUID)]
struct RawTcg(Tcg2Protocol);

/// Measures the sections of the image and leaves the log to the kernel, if there is a TPM. A
/// failure is only logged: what is sealed to the missing measurement stays sealed.
pub fn measure(image: &Image) {
    if let Err(error) = try_measure(image) {
        log!("the image is not fully measured: {error}");
    }
}

fn try_measure(image: &Image) -> Result<(), BootError> {
    let Some(mut tpm) = firmware::protocol::<Tcg>() else {
        return Ok(());
    };
    if !tpm.get_capability()?.tpm_present() {
        return Ok(());
    }
    for name in MEASURED {
        let Some(content) = image.payload(name) else {
            continue;
        };
        let mut name_with_end = Vec::from(name.as_bytes());
        name_with_end.push(0);
        let description: Vec<u8> = name_with_end
            .iter()
            .flat_map(|&byte| u16::from(byte).to_le_bytes())
            .collect();
        let event = PcrEventInputs::new_in_box(PCR_IMAGE, EventType::IPL, &description)?;
        for data in [name_with_end.as_slice(), content] {
            tpm.hash_log_extend_event(HashLogExtendEventFlags::empty(), data, &event)?;
        }
    }
    log!("the image is measured into PCR {}", PCR_IMAGE.0);
    let attributes = VariableAttributes::BOOTSERVICE_ACCESS | VariableAttributes::RUNTIME_ACCESS;
    let register: Vec<u8> = "11\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
    uefi::runtime::set_variable(
        cstr16!("StubPcrKernelImage"),
        &LOADER,
        attributes,
        &register,
    )?;
    leave_log(&mut tpm)
}

/// Number of events that the firmware will hand over a second time, in the final events table.
fn final_events() -> usize {
    let table = uefi::system::with_config_table(|tables| {
        tables
            .iter()
            .find(|t| t.guid == FINAL_EVENTS_TABLE)
            .map(|t| t.address.cast::<u64>())
    });
    // SAFETY: the table begins with its version and the number of its events, 8 bytes each.
    table.map_or(0, |table| unsafe { table.add(1).read_unaligned() } as usize)
}

/// Copies the log to where the kernel looks for it. Nothing is measured after this.
fn leave_log(tpm: &mut Tcg) -> Result<(), BootError> {
    let Some(raw) = firmware::protocol::<RawTcg>() else {
        return Ok(());
    };
    let (mut start, mut last, mut truncated) = (0, 0, Default::default());
    // SAFETY: the firmware's own interface, with places for its three answers.
    let status = unsafe {
        (raw.0.get_event_log)(
            (&raw const raw.0).cast_mut(),
            Tcg2EventLogFormat::TCG_2,
            &mut start,
            &mut last,
            &mut truncated,
        )
    };
    if !status.is_success() || start == 0 || last == 0 {
        return Ok(());
    }
    let events = tpm.get_event_log_v2()?;
    let ends: Vec<u64> = events
        .iter()
        .map(|event| event.event_data().as_ptr_range().end as u64)
        .collect();
    let Some(&end) = ends
        .last()
        .filter(|&&end| end > start && end - start <= u64::from(u32::MAX))
    else {
        return Ok(());
    };
    let repeated = final_events();
    let repeated_from = ends
        .len()
        .checked_sub(repeated + 1)
        .and_then(|index| ends.get(index));
    let repeated_size = if repeated == 0 {
        0
    } else {
        repeated_from.map_or(0, |from| end - from)
    };

    // The table: size of the log, size of its end that comes a second time, format; then the log.
    let size = (end - start) as usize;
    let table = uefi::boot::allocate_pool(MemoryType::ACPI_RECLAIM, 9 + size)?;
    // SAFETY: the allocation has room for the header and the log; the log lies between its start
    // and the end of its last event. The table is never freed.
    unsafe {
        table.cast::<u32>().write_unaligned(size as u32);
        table
            .add(4)
            .cast::<u32>()
            .write_unaligned(repeated_size as u32);
        table.add(8).write(FORMAT_2);
        core::ptr::copy_nonoverlapping(start as *const u8, table.add(9).as_ptr(), size);
        uefi::boot::install_configuration_table(&EVENT_LOG_TABLE, table.as_ptr().cast())?;
    }
    Ok(())
}
