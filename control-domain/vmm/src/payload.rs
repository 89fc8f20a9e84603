//! A test payload as the whole guest: an ELF executable, entered in long mode with the first 4 GiB
//! mapped to themselves.
//!
//! | guest-physical address | what |
//! |---|---|
//! | 0x1000 to 0x6fff | page tables: PML4, one page-directory-pointer table, four page directories |
//! | 0x7000 | command line, NUL-terminated, at most 4095 bytes |
//! | from 0x10_0000 on | the segments of the executable, where it asks for them |
//!
//! At entry RDI holds the address of the command line, RSI the number of processors, RDX the size
//! of the memory in bytes; interrupts are off, there is no stack, GDT or IDT yet.

use elf::ElfBytes;
use elf::abi::{EM_X86_64, ET_EXEC, PT_LOAD};
use elf::endian::LittleEndian;
use guest_memory::GuestMemory;
use hypervisor_abi::{Registers, Segment};

const PML4: u64 = 0x1000;
const COMMAND_LINE: u64 = 0x7000;
const LOWEST_SEGMENT: u64 = 0x10_0000;

/// Puts the executable, the page tables and the command line into memory. Answers the entry point.
///
/// # Errors
/// What is wrong with the executable, or where it does not fit.
pub fn load(image: &[u8], command_line: &str, memory: &GuestMemory) -> Result<u64, String> {
    let file = ElfBytes::<LittleEndian>::minimal_parse(image).map_err(|e| e.to_string())?;
    if file.ehdr.e_machine != EM_X86_64 || file.ehdr.e_type != ET_EXEC {
        return Err("not a statically linked x86-64 executable".into());
    }
    let segments = file.segments().ok_or("the executable has no segments")?;
    for segment in segments.iter().filter(|segment| segment.p_type == PT_LOAD) {
        let place = segment.p_paddr;
        if place < LOWEST_SEGMENT || segment.p_memsz < segment.p_filesz {
            return Err(format!(
                "segment at {place:#x}: must lie from {LOWEST_SEGMENT:#x} on"
            ));
        }
        let data = file.segment_data(&segment).map_err(|e| e.to_string())?;
        // What follows the data up to the segment's size is zero already: memory is cleared.
        memory
            .write(place, data)
            .map_err(|e| format!("segment at {place:#x}: {e}"))?;
        let end = place.saturating_add(segment.p_memsz).saturating_sub(1);
        memory
            .read(end, &mut [0])
            .map_err(|e| format!("segment at {place:#x}: {e}"))?;
    }
    if command_line.len() >= 4096 || command_line.contains('\0') {
        return Err("the command line is longer than 4095 bytes, or contains NUL".into());
    }
    let no_room = |e: guest_memory::NotMemory| e.to_string();
    memory
        .write(COMMAND_LINE, command_line.as_bytes())
        .map_err(no_room)?;
    write_page_tables(memory).map_err(no_room)?;
    Ok(file.ehdr.e_entry)
}

fn write_page_tables(memory: &GuestMemory) -> Result<(), guest_memory::NotMemory> {
    const PRESENT_WRITABLE: u64 = 3;
    const LARGE: u64 = 1 << 7;
    let directory_pointers = PML4 + 0x1000;
    memory.write_value(PML4, directory_pointers | PRESENT_WRITABLE, 8)?;
    for gib in 0..4 {
        let directory = directory_pointers + (1 + gib) * 0x1000;
        memory.write_value(
            directory_pointers + gib * 8,
            directory | PRESENT_WRITABLE,
            8,
        )?;
        for entry in 0..512 {
            let frame = gib << 30 | entry << 21;
            memory.write_value(directory + entry * 8, frame | LARGE | PRESENT_WRITABLE, 8)?;
        }
    }
    Ok(())
}

/// The bootstrap processor at the entry point: 64-bit code at privilege level 0.
pub fn entry_registers(
    reset: &Registers,
    entry: u64,
    processor_count: u64,
    memory_bytes: u64,
) -> Registers {
    let flat = |selector, attributes| Segment {
        selector,
        attributes,
        limit: u32::MAX,
        base: 0,
    };
    // Descriptor bits as a VMCB holds them: present, code or data, accessed; L or D/B; granular.
    let (code, data) = (flat(0x08, 0xa9b), flat(0x10, 0xc93));
    let mut registers = Registers {
        rip: entry,
        rflags: 2,
        cs: code,
        ds: data,
        es: data,
        ss: data,
        fs: data,
        gs: data,
        ldtr: Segment {
            selector: 0,
            attributes: 0x82,
            limit: 0xffff,
            base: 0,
        },
        tr: Segment {
            selector: 0,
            attributes: 0x8b,
            limit: 0xffff,
            base: 0,
        },
        gdtr: Segment::default(),
        idtr: Segment::default(),
        cr0: 0x8001_0033, // PG, WP, NE, ET, MP, PE
        cr3: PML4,
        cr4: 0x620,  // OSXMMEXCPT, OSFXSR, PAE
        efer: 0xd00, // NXE, LMA, LME
        ..*reset
    };
    registers.gpr = [0; 16];
    registers.gpr[7] = COMMAND_LINE;
    registers.gpr[6] = processor_count;
    registers.gpr[2] = memory_bytes;
    registers
}

#[cfg(test)]
mod tests {
    use super::*;
    use guest_memory::{Layout, Mapping, Paging, Range};

    fn memory() -> GuestMemory {
        let mut layout = Layout::default();
        layout
            .add(Range {
                gpa: 0,
                length: 4 << 20,
                offset: 0,
            })
            .unwrap();
        GuestMemory::new(Mapping::anonymous(4 << 20).unwrap(), layout).unwrap()
    }

    #[test]
    fn the_page_tables_map_4_gib_to_themselves() {
        let memory = memory();
        write_page_tables(&memory).unwrap();
        let r = entry_registers(&Registers::default(), 0x10_0000, 2, 4 << 20);
        let paging = Paging {
            cr0: r.cr0,
            cr3: r.cr3,
            cr4: r.cr4,
            efer: r.efer,
        };
        let read = |gpa, size| memory.read_value(gpa, size).ok();
        for address in [0, 0x10_0000, 0xfee0_0020, 0xffff_ffff] {
            assert_eq!(paging.translate(address, true, false, read), Ok(address));
        }
        assert!(paging.translate(1 << 32, false, false, read).is_err());
    }

    #[test]
    fn what_is_no_executable_is_refused() {
        let memory = memory();
        assert!(load(b"\x7fELF", "", &memory).is_err());
        assert!(load(&std::fs::read("/proc/self/exe").unwrap(), "", &memory).is_err());
    }
}
