//! What is read from the firmware, and the memory that is taken from it, while it is there.

use super::BootError;
use super::cpu;
use super::serial::log;
use core::time::Duration;
use hypervisor_boot::acpi::{self, AcpiError};
use hypervisor_boot::boot_params::{Screen, SecureBoot};
use hypervisor_boot::memory_map::{Descriptor, PAGE_SIZE};
use hypervisor_hal::handoff::{Framebuffer, Range};
use uefi::boot::{
    AllocateType, MemoryType, OpenProtocolAttributes, OpenProtocolParams, ScopedProtocol,
};
use uefi::mem::memory_map::MemoryMap;
use uefi::proto::ProtocolPointer;
use uefi::proto::console::gop::{GraphicsOutput, PixelFormat};
use uefi::proto::loaded_image::LoadedImage;
use uefi::proto::rng::Rng;
use uefi::runtime::VariableVendor;
use uefi::table::cfg::ConfigTableEntry;
use uefi::{CStr16, Guid, cstr16, guid};

/// Under this the kernel looks for a seed (Linux `linux/efi.h`, `LINUX_EFI_RANDOM_SEED_TABLE_GUID`).
static RANDOM_SEED_TABLE: Guid = guid!("1ce1e5bc-7ceb-42f2-81e5-8aadf180f57b");

/// Where the firmware loaded our own image, sections and all.
pub fn own_image() -> Result<Range, BootError> {
    let image = uefi::boot::open_protocol_exclusive::<LoadedImage>(uefi::boot::image_handle())?;
    let (base, size) = image.info();
    Ok(Range {
        start: base as u64,
        end: base as u64 + size,
    })
}

/// Takes as many whole pages as `bytes` need, below `limit`.
pub fn allocate(kind: MemoryType, bytes: u64, limit: u64) -> Result<Range, BootError> {
    let size = bytes.next_multiple_of(PAGE_SIZE);
    let pages = (size / PAGE_SIZE) as usize;
    let start = uefi::boot::allocate_pages(AllocateType::MaxAddress(limit - 1), kind, pages)
        .map_err(|_| BootError::OutOfMemory { bytes })?;
    let start = start.as_ptr() as u64;
    Ok(Range {
        start,
        end: start + size,
    })
}

/// Takes memory that starts on `alignment` bytes, below `limit`.
pub fn allocate_aligned(
    kind: MemoryType,
    bytes: u64,
    alignment: u64,
    limit: u64,
) -> Result<Range, BootError> {
    let size = bytes.next_multiple_of(PAGE_SIZE);
    let whole = allocate(kind, size + alignment, limit)?;
    let start = whole.start.next_multiple_of(alignment);
    let used = Range {
        start,
        end: start + size,
    };
    for rest in [
        Range {
            start: whole.start,
            end: used.start,
        },
        Range {
            start: used.end,
            end: whole.end,
        },
    ] {
        if let Some(pointer) = core::ptr::NonNull::new(rest.start as *mut u8)
            && !rest.is_empty()
        {
            // SAFETY: these pages are part of what was just allocated, and nothing uses them.
            unsafe { uefi::boot::free_pages(pointer, (rest.len() / PAGE_SIZE) as usize) }?;
        }
    }
    Ok(used)
}

/// Takes exactly the free memory of `range`.
pub fn allocate_at(kind: MemoryType, range: Range) -> Result<(), BootError> {
    let pages = (range.len() / PAGE_SIZE) as usize;
    uefi::boot::allocate_pages(AllocateType::Address(range.start), kind, pages)
        .map_err(|_| BootError::OutOfMemory { bytes: range.len() })?;
    Ok(())
}

/// Copies a memory map into `out`; returns how many descriptors it has.
pub fn copy_memory_map(map: &impl MemoryMap, out: &mut [Descriptor]) -> Option<usize> {
    let mut count = 0;
    for entry in map.entries() {
        *out.get_mut(count)? = Descriptor {
            kind: entry.ty.0,
            start: entry.phys_start,
            pages: entry.page_count,
            attribute: entry.att.bits(),
        };
        count += 1;
    }
    Some(count)
}

/// The firmware's RSDP and the checked tables that are replaced.
#[derive(Clone, Copy)]
pub struct AcpiTables {
    /// The RSDP.
    pub rsdp: &'static [u8; acpi::RSDP_SIZE],
    /// The XSDT.
    pub xsdt: &'static [u8],
    /// The MADT.
    pub madt: &'static [u8],
}

/// The table with `signature` at `address`, checked.
fn acpi_table(address: u64, signature: [u8; 4]) -> Result<&'static [u8], AcpiError> {
    // SAFETY: the firmware's ACPI tables refer to this address; it lies in memory that is never
    // used for anything else, and whatever is there, its first bytes are read only as bytes.
    let header = unsafe { core::slice::from_raw_parts(address as *const u8, acpi::HEADER_SIZE) };
    let length = acpi::table_length(header, signature)?;
    // SAFETY: as above; the signature is right, so this is the table's own length.
    let table = unsafe { core::slice::from_raw_parts(address as *const u8, length) };
    acpi::check_table(table, signature)?;
    Ok(table)
}

/// Finds the ACPI tables.
pub fn acpi_tables() -> Result<AcpiTables, BootError> {
    let rsdp = uefi::system::with_config_table(|tables| {
        tables
            .iter()
            .find(|t| t.guid == ConfigTableEntry::ACPI2_GUID)
            .map(|t| t.address)
    });
    let rsdp = rsdp
        .ok_or(AcpiError::NoXsdt)?
        .cast::<[u8; acpi::RSDP_SIZE]>();
    // SAFETY: under this GUID the firmware gives the address of an RSDP of revision 2 or later,
    // which stays where it is.
    let rsdp = unsafe { &*rsdp };
    let xsdt = acpi_table(acpi::xsdt_address(rsdp)?, *b"XSDT")?;
    let madt = acpi::xsdt_entries(xsdt).find_map(|address| acpi_table(address, *b"APIC").ok());
    Ok(AcpiTables {
        rsdp,
        xsdt,
        madt: madt.ok_or(AcpiError::NoMadt)?,
    })
}

fn variable(name: &CStr16) -> Option<u8> {
    let mut value = [0];
    let (value, _) =
        uefi::runtime::get_variable(name, &VariableVendor::GLOBAL_VARIABLE, &mut value).ok()?;
    value.first().copied()
}

/// The state of Secure Boot, from the variables `SecureBoot` and `SetupMode` (UEFI 2.10 §3.3).
pub fn secure_boot() -> SecureBoot {
    match (
        variable(cstr16!("SecureBoot")),
        variable(cstr16!("SetupMode")),
    ) {
        (Some(1), Some(0)) => SecureBoot::Enabled,
        (Some(_), Some(_)) | (None, _) => SecureBoot::Disabled,
        (Some(_), None) => SecureBoot::Unknown,
    }
}

/// Opens the first instance of a protocol without taking it from others.
pub fn protocol<P: ProtocolPointer + ?Sized>() -> Option<ScopedProtocol<P>> {
    let handle = uefi::boot::get_handle_for_protocol::<P>().ok()?;
    let params = OpenProtocolParams {
        handle,
        agent: uefi::boot::image_handle(),
        controller: None,
    };
    // SAFETY: no driver is disconnected while this program runs, so the interface stays valid.
    unsafe { uefi::boot::open_protocol(params, OpenProtocolAttributes::GetProtocol) }.ok()
}

/// Width in bits and lowest bit of a mask.
fn channel(mask: u32) -> (u8, u8) {
    (
        mask.count_ones() as u8,
        if mask == 0 {
            0
        } else {
            mask.trailing_zeros() as u8
        },
    )
}

/// The screen, if it has a linear framebuffer of 4 bytes a pixel.
pub fn screen() -> Option<(Screen, Framebuffer)> {
    let mut graphics = protocol::<GraphicsOutput>()?;
    let mode = graphics.current_mode_info();
    let channels = match mode.pixel_format() {
        PixelFormat::Rgb => [(8, 0), (8, 8), (8, 16), (8, 24)],
        PixelFormat::Bgr => [(8, 16), (8, 8), (8, 0), (8, 24)],
        PixelFormat::Bitmask => {
            let mask = mode.pixel_bitmask()?;
            [mask.red, mask.green, mask.blue, mask.reserved].map(channel)
        }
        PixelFormat::BltOnly => return None,
    };
    let (width, height) = mode.resolution();
    let mut buffer = graphics.frame_buffer();
    let (base, size) = (buffer.as_mut_ptr() as u64, buffer.size() as u64);
    let stride = u32::try_from(mode.stride()).ok()?;
    let screen = Screen {
        base,
        size,
        width: u16::try_from(width).ok()?,
        height: u16::try_from(height).ok()?,
        line_length: u16::try_from(stride.checked_mul(4)?).ok()?,
        channels,
    };
    let framebuffer = Framebuffer {
        base,
        width: screen.width.into(),
        height: screen.height.into(),
        stride,
    };
    (u64::from(stride) * 4 * u64::from(framebuffer.height) <= size).then_some((screen, framebuffer))
}

/// Random bytes from the firmware; `None` if it has no generator.
fn firmware_random() -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    protocol::<Rng>()?.get_rng(None, &mut bytes).ok()?;
    Some(bytes)
}

/// The hypervisor's own seed: the firmware's generator, the CPU's and the time stamp counter.
pub fn seed() -> [u8; 32] {
    let firmware = firmware_random();
    let mut seed = firmware.unwrap_or_default();
    let mut from_cpu = true;
    for chunk in seed.chunks_exact_mut(8) {
        let random = cpu::random();
        from_cpu &= random.is_some();
        let mixed = random.unwrap_or(0) ^ cpu::time_stamp().rotate_left(32);
        for (byte, value) in chunk.iter_mut().zip(mixed.to_le_bytes()) {
            *byte ^= value;
        }
    }
    if firmware.is_none() && !from_cpu {
        log!(
            "neither the firmware nor the CPU has a random number generator: machine handles can be guessed"
        );
    }
    seed
}

/// Leaves a seed for the kernel, as the kernel's own EFI stub would.
pub fn leave_kernel_seed() -> Result<(), BootError> {
    let Some(seed) = firmware_random() else {
        return Ok(());
    };
    let table = uefi::boot::allocate_pool(MemoryType::ACPI_RECLAIM, 4 + seed.len())?;
    // SAFETY: the allocation has room for the length and the bytes, and becomes a configuration
    // table that nothing frees; its type is one that the kernel keeps until it has read it.
    unsafe {
        table.cast::<u32>().write_unaligned(seed.len() as u32);
        table.add(4).cast::<[u8; 32]>().write(seed);
        uefi::boot::install_configuration_table(&RANDOM_SEED_TABLE, table.as_ptr().cast())?;
    }
    Ok(())
}

/// Ticks of the time stamp counter in a microsecond, measured against the firmware's clock.
pub fn ticks_per_microsecond() -> u64 {
    const MILLISECONDS: u64 = 10;
    let start = cpu::time_stamp();
    uefi::boot::stall(Duration::from_millis(MILLISECONDS));
    (cpu::time_stamp().wrapping_sub(start) / (MILLISECONDS * 1000)).max(1)
}
