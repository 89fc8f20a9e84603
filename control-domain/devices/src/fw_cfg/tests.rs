use super::*;
use crate::test_memory::Ram;

fn device() -> FwCfg {
    let files = [
        ("etc/e820", vec![1, 2, 3]),
        ("bootorder", (0..=255).cycle().take(9000).collect()),
    ];
    let mut device = FwCfg::new(
        files
            .map(|(name, content)| (name.to_string(), content))
            .into(),
    );
    device.set_item(ITEM_PROCESSORS, &2u16.to_le_bytes());
    device
}

fn bytes(device: &mut FwCfg, item: u16, count: usize) -> Vec<u8> {
    device.write(0x510, 2, item.into(), &Ram::new(0));
    (0..count).map(|_| device.read(0x511, 1) as u8).collect()
}

fn dma(device: &mut FwCfg, ram: &Ram, control: u32, length: u32, address: u64) -> u32 {
    let descriptor = [
        control.to_be_bytes().as_slice(),
        &length.to_be_bytes(),
        &address.to_be_bytes(),
    ]
    .concat();
    ram.write(0x100, &descriptor).expect("in RAM");
    device.write(0x518, 4, 0x100u32.swap_bytes(), ram);
    let mut outcome = [0; 4];
    ram.read(0x100, &mut outcome).expect("in RAM");
    u32::from_be_bytes(outcome)
}

#[test]
fn items_by_port() {
    let mut device = device();
    assert_eq!(bytes(&mut device, 0, 4), b"QEMU");
    assert_eq!(bytes(&mut device, 1, 4), [3, 0, 0, 0]);
    assert_eq!(bytes(&mut device, 5, 4), [2, 0, 0, 0]);
    assert_eq!(bytes(&mut device, 0x7777, 3), [0, 0, 0]);
}

#[test]
fn directory_leads_to_the_files() {
    let mut device = device();
    let directory = bytes(&mut device, 0x19, 4 + 2 * 64);
    assert_eq!(directory[..4], [0, 0, 0, 2]);
    let entry = &directory[4 + 64..];
    assert_eq!(entry[..4], [0, 0, 0, 3]);
    assert_eq!(&entry[8..17], b"etc/e820\0");
    let select = u16::from_be_bytes([entry[4], entry[5]]);
    assert_eq!(bytes(&mut device, select, 4), [1, 2, 3, 0]);
}

#[test]
fn files_by_dma() {
    let mut device = device();
    let ram = Ram::new(0x1_0000);
    assert_eq!(device.read(0x514, 4).to_le_bytes(), *b"QEMU");
    assert_eq!(device.read(0x518, 4).to_le_bytes(), *b" CFG");
    assert_eq!(
        dma(
            &mut device,
            &ram,
            0x20 << 16 | DMA_SELECT | DMA_READ,
            9000,
            0x4000
        ),
        0
    );
    assert_eq!(ram.bytes(0x4000 + 8999, 2), [(8999 % 256) as u8, 0]);
    assert_eq!(
        dma(&mut device, &ram, 0x21 << 16 | DMA_SELECT | DMA_SKIP, 1, 0),
        0
    );
    assert_eq!(dma(&mut device, &ram, DMA_READ, 2, 0x200), 0);
    assert_eq!(ram.bytes(0x200, 2), [2, 3]);
}

#[test]
fn bad_dma_is_refused() {
    let mut device = device();
    let ram = Ram::new(0x1_0000);
    let read = 0x20 << 16 | DMA_SELECT | DMA_READ;
    assert_eq!(dma(&mut device, &ram, read, 16, 0xffff_0000), DMA_ERROR);
    assert_eq!(
        dma(&mut device, &ram, read, u32::MAX, u64::MAX - 100),
        DMA_ERROR
    );
    assert_eq!(
        dma(
            &mut device,
            &ram,
            0x20 << 16 | DMA_SELECT | DMA_WRITE,
            1,
            0x200
        ),
        DMA_ERROR
    );
    device.write(0x518, 4, 0xffff_ffff, &ram);
}
