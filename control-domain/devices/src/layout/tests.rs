use super::*;

const BIOS: u64 = 256 << 10;

fn region(start: u64, end: u64, target: Target) -> Region {
    Region {
        start,
        length: end - start,
        target,
    }
}

#[test]
fn power_on_and_shadowed() {
    let mut bridge = HostBridge::new(false);
    let memory = MemorySize::of(4 << 30);
    let rom = region(0xfffc_0000, 1 << 32, Target::Rom { offset: 0 });
    let high = region(1 << 32, 5 << 30, Target::Ram);
    assert_eq!(
        memory_layout(memory, BIOS, &bridge, None, 16 << 20, None),
        [
            region(0, 0xa_0000, Target::Ram),
            region(0xe_0000, 0x10_0000, Target::Rom { offset: 0x2_0000 }),
            region(0x10_0000, 0xc000_0000, Target::Ram),
            rom,
            high,
        ]
    );
    bridge.write(0x58, 4, 0x3333_3000);
    bridge.write(0x5c, 4, 0x3333_3333);
    let text = TextWindow {
        start: 0xb_8000,
        length: 0x8000,
        offset: 0,
    };
    assert_eq!(
        memory_layout(
            memory,
            BIOS,
            &bridge,
            Some(0xfd00_0000),
            16 << 20,
            Some(text)
        ),
        [
            region(0, 0xa_0000, Target::Ram),
            region(0xb_8000, 0xc_0000, Target::VideoMemory { offset: 0 }),
            region(0xc_0000, 0xc000_0000, Target::Ram),
            region(0xfd00_0000, 0xfe00_0000, Target::VideoMemory { offset: 0 }),
            rom,
            high,
        ]
    );
    bridge.write(0x58, 4, 0x1111_1000);
    let layout = memory_layout(memory, BIOS, &bridge, None, 16 << 20, None);
    assert_eq!(layout[1], region(0xc_0000, 0xd_0000, Target::RamReadOnly));
    assert_eq!(layout[3], region(0xf_0000, 0x10_0000, Target::RamReadOnly));
}

#[test]
fn window_over_memory_or_the_board_is_not_there() {
    let bridge = HostBridge::new(false);
    let memory = MemorySize::of(1 << 30);
    for window in [0x3f00_0000, 0xfe80_0000, 0xffff_f000] {
        let layout = memory_layout(memory, BIOS, &bridge, Some(window), 16 << 20, None);
        assert!(
            !layout.iter().any(|region| region.start == window),
            "{window:#x}"
        );
    }
}

#[test]
fn map_for_firmware() {
    assert_eq!(e820(MemorySize::of(1 << 30)).len(), 20);
    let map = e820(MemorySize::of(4 << 30));
    assert_eq!(map[20..28], (1u64 << 32).to_le_bytes());
    assert_eq!(map[28..36], (1u64 << 30).to_le_bytes());
}
