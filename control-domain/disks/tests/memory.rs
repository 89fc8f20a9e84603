//! What a file that means harm costs in memory: 4 KiB of it, whatever it claims. A test binary of its own with one test,
//! so that nothing else is counted.
#![allow(clippy::unwrap_used)]

mod folder;

use disk::SECTOR_SIZE;
use disks::{Format, OpenOptions};
use folder::Folder;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The most that looking at such a file may cost.
const MOST_BYTES: u64 = 4 << 20;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// A file: its length, and the bytes that are no zeros, 4 KiB at most.
struct Hostile {
    name: &'static str,
    length: u64,
    bytes: Vec<(u64, Vec<u8>)>,
}

/// The most memory that this process has had since [`forget_peak`], in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap() * KIB
}

/// Lets the peak be what there is now (proc(5), `clear_refs`).
fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// All that looks at a file. Answers what is said about it.
fn look(path: &Path) -> String {
    let said = match disks::info(path, None) {
        Ok(info) => info.description(),
        Err(error) => error.to_string(),
    };
    let _ = disks::chain(path);
    let _ = disks::check(path, false, &mut |_, _| ());
    for format in [
        None,
        Some(Format::Vhd),
        Some(Format::Vhdx),
        Some(Format::Vmdk),
    ] {
        let options = OpenOptions {
            format,
            ..OpenOptions::read_only()
        };
        let Ok(opened) = disks::open(path, &options) else {
            continue;
        };
        let (mut disk, mut data) = (opened.disk, [0; 4096]);
        for part in 0..64 {
            let offset = disk.size() / 64 * part / SECTOR_SIZE * SECTOR_SIZE;
            let length = (disk.size() - offset).min(4096) as usize;
            let _ = disk.read(offset, &mut data[..length]);
            let _ = disk.extent(offset);
        }
    }
    said
}

fn sum(bytes: &[u8]) -> [u8; 4] {
    let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
    (!sum).to_be_bytes()
}

/// A VHD whose header claims `entries` of blocks of `block` bytes; `locator` is the length of a parent's path.
fn vhd(name: &'static str, length: u64, entries: u32, block: u32, locator: Option<u32>) -> Hostile {
    let mut footer = vec![0; 512];
    footer[..8].copy_from_slice(b"conectix");
    footer[8..16].copy_from_slice(&[0, 0, 0, 2, 0, 1, 0, 0]);
    footer[16..24].copy_from_slice(&512_u64.to_be_bytes());
    let size = u64::from(entries)
        .saturating_mul(block.into())
        .min(2040 << 30);
    for at in [40, 48] {
        footer[at..at + 8].copy_from_slice(&size.to_be_bytes());
    }
    footer[60..64].copy_from_slice(&[0, 0, 0, if locator.is_some() { 4 } else { 3 }]);
    footer[68..84].fill(7);
    let of_footer = sum(&footer);
    footer[64..68].copy_from_slice(&of_footer);
    let mut header = vec![0; 1024];
    header[..8].copy_from_slice(b"cxsparse");
    header[8..16].fill(0xff);
    header[16..24].copy_from_slice(&1536_u64.to_be_bytes());
    header[24..28].copy_from_slice(&[0, 1, 0, 0]);
    header[28..32].copy_from_slice(&entries.to_be_bytes());
    header[32..36].copy_from_slice(&block.to_be_bytes());
    if let Some(length) = locator {
        for entry in 0..8 {
            let at = 576 + entry * 24;
            header[at..at + 4].copy_from_slice(b"W2ru");
            header[at + 4..at + 8].copy_from_slice(&length.to_be_bytes());
            header[at + 8..at + 12].copy_from_slice(&length.to_be_bytes());
            header[at + 16..at + 24].copy_from_slice(&2048_u64.to_be_bytes());
        }
    }
    let of_header = sum(&header);
    header[36..40].copy_from_slice(&of_header);
    let bytes = vec![(0, footer.clone()), (512, header), (length - 512, footer)];
    Hostile {
        name,
        length,
        bytes,
    }
}

/// A VHDX with nothing but what gets it past the first looks: an identifier, a header, and a region table that
/// names a block table and metadata of `claimed` bytes each ([MS-VHDX] 2.2).
fn vhdx(name: &'static str, length: u64, claimed: u32, log: u32) -> Hostile {
    let crc = |bytes: &mut Vec<u8>, whole: usize| {
        bytes.resize(whole, 0);
        let sum = crc32c::crc32c(bytes);
        bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
    };
    let mut header = vec![0; 80];
    header[..4].copy_from_slice(b"head");
    header[8] = 1;
    header[16..64].fill(9);
    if log == 1 << 20 {
        header[48..64].fill(0);
    }
    header[66] = 1;
    header[68..72].copy_from_slice(&log.to_le_bytes());
    header[72..80].copy_from_slice(&MIB.to_le_bytes());
    crc(&mut header, 4096);
    let mut table = b"regi\0\0\0\0".to_vec();
    table.extend(2_u64.to_le_bytes());
    let bat = 0x2dc2_7766_f623_4200_9d64_115e_9bfd_4a08_u128;
    let metadata = 0x8b7c_a206_4790_4b9a_b8fe_575f_050f_886e_u128;
    for (guid, offset, claimed) in [(bat, 4096 * MIB, claimed), (metadata, 2 * MIB, 1 << 20)] {
        let mut bytes = guid.to_be_bytes();
        bytes[..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
        table.extend(bytes);
        table.extend(offset.to_le_bytes());
        table.extend(claimed.to_le_bytes());
        table.extend(1_u32.to_le_bytes());
    }
    crc(&mut table, 64 << 10);
    let mut items = b"metadata\0\0".to_vec();
    items.extend(2047_u16.to_le_bytes());
    items.resize(1024, 0x55);
    let bytes = vec![
        (0, b"vhdxfile".to_vec()),
        (64 * KIB, header),
        (192 * KIB, table),
        (2 * MIB, items),
    ];
    Hostile {
        name,
        length,
        bytes,
    }
}

/// A sparse VMDK of so many sectors, whose directories lie behind the header.
fn vmdk(name: &'static str, length: u64, capacity: u64, grain: u64, compressed: bool) -> Hostile {
    let mut header = vec![0; 512];
    header[..4].copy_from_slice(b"KDMV");
    header[4] = 1;
    header[8] = 1;
    if compressed {
        header[4] = 3;
        header[10] = 3;
        header[77] = 1;
    }
    header[12..20].copy_from_slice(&capacity.to_le_bytes());
    header[20..28].copy_from_slice(&grain.to_le_bytes());
    header[28..36].copy_from_slice(&1_u64.to_le_bytes());
    header[36..44].copy_from_slice(&2_u64.to_le_bytes());
    header[44..48].copy_from_slice(&512_u32.to_le_bytes());
    header[56..64].copy_from_slice(&3_u64.to_le_bytes());
    header[73..77].copy_from_slice(b"\n \r\n");
    let descriptor = format!(
        "# Disk DescriptorFile\nversion=1\nCID=0000000a\nparentCID=ffffffff\ncreateType=\"monolithicSparse\"\nRW {capacity} SPARSE \"{name}\"\n"
    );
    let directory = vec![4; 2048];
    let bytes = vec![
        (0, header),
        (512, descriptor.into_bytes()),
        (1536, directory),
    ];
    Hostile {
        name,
        length,
        bytes,
    }
}

/// A descriptor of 4 KiB that names one file again and again, as large as can be.
fn descriptor() -> Hostile {
    let mut text = "# Disk DescriptorFile\nversion=1\nCID=a\nparentCID=ffffffff\ncreateType=\"twoGbMaxExtentFlat\"\n".to_owned();
    while text.len() < 4000 {
        text += "RW 1 FLAT \"x\" 0\n";
    }
    let bytes = vec![(0, text.into_bytes())];
    Hostile {
        name: "descriptor.vmdk",
        length: 4096,
        bytes,
    }
}

#[test]
fn four_kib_cost_little_whatever_they_claim() {
    const SPARSE: u64 = 1 << 40;
    let folder = Folder::new("hostile-memory");
    let files = [
        vhd("all-entries.vhd", 4096, u32::MAX, 4096, None),
        vhd("large-blocks.vhd", 4096, 1 << 12, 256 << 20, None),
        vhd("paths.vhd", 4096, 4, 2 << 20, Some(u32::MAX)),
        // The same with room for what they claim, all of it holes.
        vhd("all-entries-sparse.vhd", SPARSE, u32::MAX, 4096, None),
        vhd("table-sparse.vhd", SPARSE, 1 << 24, 128 << 10, None),
        vhd("paths-sparse.vhd", SPARSE, 4, 2 << 20, Some(1 << 30)),
        vhdx("cut.vhdx", 4096, u32::MAX, 0),
        vhdx("regions-sparse.vhdx", SPARSE, 0xfff0_0000, 1 << 20),
        vhdx("log-sparse.vhdx", SPARSE, 1 << 20, 64 << 20),
        vmdk("capacity.vmdk", 4096, 1 << 37, 8, false),
        vmdk("large-grains.vmdk", 4096, 1 << 37, 2048, false),
        vmdk("compressed.vmdk", 4096, 1 << 37, 128, true),
        vmdk("capacity-sparse.vmdk", SPARSE, 1 << 37, 8, false),
        vmdk("grains-sparse.vmdk", SPARSE, 1 << 37, 2048, true),
        descriptor(),
    ];
    std::fs::write(folder.file("x"), [0; 512]).unwrap();
    for hostile in files {
        let path = folder.file(hostile.name);
        let file = File::create(&path).unwrap();
        file.set_len(hostile.length).unwrap();
        for (offset, bytes) in &hostile.bytes {
            if offset + bytes.len() as u64 <= hostile.length {
                file.write_all_at(bytes, *offset).unwrap();
            }
        }
        let all: usize = hostile.bytes.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(all <= 4096, "{}: {all}", hostile.name);
        forget_peak();
        let before = peak();
        let said = look(&path);
        let cost = peak().saturating_sub(before);
        eprintln!("{}: {} KiB; {said}", hostile.name, cost / KIB);
        assert!(cost < MOST_BYTES, "{}: {cost} bytes", hostile.name);
    }
}
