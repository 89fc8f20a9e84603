//! The pages of vital product data that only disks have. Source: SBC-3 §6.6.

use super::DiskConfig;

/// Blocks that one UNMAP may name, altogether.
pub const MOST_UNMAP_BLOCKS: u32 = 1 << 23;
/// Ranges that one UNMAP may name.
pub const MOST_UNMAP_RANGES: u32 = 256;
/// Bytes that one WRITE SAME may fill.
pub const MOST_FILL_BYTES: u64 = 32 << 20;

/// Pages B0, B1 and, for thin disks, B2.
pub fn pages(config: &DiskConfig) -> Vec<(u8, Vec<u8>)> {
    let mut pages = vec![(0xb0, block_limits(config)), (0xb1, characteristics())];
    if config.thin {
        // UNMAP works (LBPU); WRITE SAME writes, whatever its UNMAP bit says; thin provisioning.
        pages.push((0xb2, vec![0, 0x80, 2, 0]));
    }
    pages
}

/// Block limits (§6.6.3).
fn block_limits(config: &DiskConfig) -> Vec<u8> {
    let mut page = vec![0; 60];
    let mut put = |at: usize, value: u32| page[at - 4..at].copy_from_slice(&value.to_be_bytes());
    let block = config.block_size.max(1);
    let granularity = config.physical_block_size / block;
    // Offsets here are of the fields' ends, without the page's header of 4 bytes.
    put(8, config.most_transfer / block);
    put(12, config.most_transfer / block);
    if config.thin {
        put(20, MOST_UNMAP_BLOCKS);
        put(24, MOST_UNMAP_RANGES);
        put(28, granularity);
        put(32, 0x8000_0000);
    }
    let most_fill = MOST_FILL_BYTES / u64::from(block);
    page[32..40].copy_from_slice(&most_fill.to_be_bytes());
    // WRITE SAME has to name a number of blocks (WSNZ).
    page[0] = 1;
    page[2..4].copy_from_slice(&(granularity as u16).to_be_bytes());
    page
}

/// Block device characteristics (§6.6.2): nothing rotates.
fn characteristics() -> Vec<u8> {
    let mut page = vec![0; 60];
    page[..2].copy_from_slice(&1u16.to_be_bytes());
    page
}
