//! Writes the seeds of the corpus: `cargo run -p disk-fuzz --example seeds -- fuzz/corpus`

use disk::Disk;
use disk_fuzz::scatter::pack;
use disk_testing::Image;
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use vhdx::{Guid, New};

const SIZE: u64 = 9 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("name the corpus folder")?);
    let put = |format: &str, name: &str, bytes: &[u8]| -> Result<(), Box<dyn Error>> {
        let folder = folder.join(format);
        std::fs::create_dir_all(&folder)?;
        Ok(std::fs::write(Path::new(&folder).join(name), bytes)?)
    };
    let fixed = vhd::create_fixed(Image::zeros(0), 1 << 20, [1; 16], 1)?;
    put("vhd", "fixed", &pack(&fixed.bytes()))?;
    let dynamic = vhd::create_dynamic(Image::zeros(0), SIZE, 64 << 10, [1; 16], 1)?;
    put("vhd", "dynamic", &pack(&dynamic.bytes()))?;
    for (name, fixed, sector) in [("dynamic", false, 512), ("fixed", true, 4096)] {
        let new = New {
            size: 4 << 20,
            block_size: 1 << 20,
            logical_sector: sector,
            physical_sector: 4096,
            fixed,
            parent: None,
            creator: "seed".into(),
            disk_id: Guid([1; 16]),
            file_write_guid: Guid([2; 16]),
            data_write_guid: Guid([3; 16]),
        };
        put(
            "vhdx",
            name,
            &pack(&vhdx::create(Image::zeros(0), &new)?.bytes()),
        )?;
    }
    put(
        "vmdk",
        "descriptor",
        descriptor("monolithicFlat", "RW 8 FLAT \"a\" 0\nRW 9 ZERO").as_bytes(),
    )?;
    put("vmdk", "sparse", &pack(&sparse(false)?))?;
    put("vmdk", "stream", &pack(&sparse(true)?))?;
    Ok(())
}

fn descriptor(create_type: &str, extents: &str) -> String {
    format!(
        "# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID=00000001\nparentCID=ffffffff\ncreateType=\"{create_type}\"\n{extents}\n"
    )
}

/// A sparse extent of 256 sectors in grains of 16, of which the third is there.
fn sparse(compressed: bool) -> Result<Vec<u8>, Box<dyn Error>> {
    let kind = if compressed {
        "streamOptimized"
    } else {
        "monolithicSparse"
    };
    let mut file = vec![0; 64 << 9];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"KDMV");
    put(4, &[if compressed { 3 } else { 1 }]);
    put(8, &if compressed { 0x3_0001u32 } else { 7 }.to_le_bytes());
    // Capacity, grain size, descriptor's sector and size, entries of a table, the two directories.
    for (at, value) in [(12, 256), (20, 16), (28, 1), (36, 2), (44, 512), (56, 4)] {
        put(at, &[(value & 0xff) as u8, (value >> 8) as u8]);
    }
    put(73, b"\n \r\n");
    put(77, &[u8::from(compressed)]);
    put(512, descriptor(kind, "RW 256 SPARSE \"a.vmdk\"").as_bytes());
    put(4 << 9, &[8]);
    put((8 << 9) + 2 * 4, &[16]);
    match compressed {
        false => put(16 << 9, &[7; 16 << 9]),
        true => {
            let mut packed =
                flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            packed.write_all(&[7; 16 << 9])?;
            let packed = packed.finish()?;
            put(16 << 9, &32u64.to_le_bytes());
            put((16 << 9) + 8, &(packed.len() as u32).to_le_bytes());
            put((16 << 9) + 12, &packed);
        }
    }
    let mut disk = vmdk::Vmdk::open(Image::new(&file), &mut |_| {
        Err(std::io::ErrorKind::NotFound.into())
    })?;
    let mut data = [0; 512];
    disk.read(32 << 9, &mut data)?;
    assert_eq!(data, [7; 512], "the seed is no {kind} disk");
    Ok(file)
}
