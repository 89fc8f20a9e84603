use super::*;

/// (type, formatted part, strings)
fn parse(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>, Vec<String>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (formatted, rest) = bytes.split_at(usize::from(bytes[1]));
        let end = rest
            .windows(2)
            .position(|pair| pair == [0, 0])
            .expect("an end");
        let strings = rest[..end]
            .split(|byte| *byte == 0)
            .filter(|text| !text.is_empty());
        let strings = strings
            .map(|text| String::from_utf8_lossy(text).into_owned())
            .collect();
        found.push((formatted[0], formatted.to_vec(), strings));
        bytes = &rest[end + 2..];
    }
    found
}

#[test]
fn structures_have_their_lengths_and_the_anchor_counts_them() {
    let machine = Machine {
        generation: Generation::One,
        processor_count: 2,
        memory_bytes: [3 << 30, 1 << 30],
        guid: *b"0123456789abcdef",
    };
    let files = files(machine);
    let structures = parse(&files[TABLES]);
    let lengths: Vec<_> = structures
        .iter()
        .map(|(kind, fixed, _)| (*kind, fixed.len()))
        .collect();
    let expected = [
        (1, 27),
        (3, 22),
        (4, 42),
        (4, 42),
        (16, 23),
        (17, 40),
        (19, 31),
        (19, 31),
        (32, 11),
        (127, 4),
    ];
    assert_eq!(lengths, expected, "lengths of SMBIOS 2.8");
    assert_eq!(&structures[0].1[8..24], b"0123456789abcdef");
    assert_eq!(structures[5].1[12..14], 4096u16.to_le_bytes(), "MiB");
    assert_eq!(structures[5].1[16], 1, "locator");
    // What Linux goes by when it looks for a Generation 1 machine's disks.
    assert_eq!(
        structures[0].2[..3],
        ["Microsoft Corporation", "Virtual Machine", "7.0"]
    );

    let anchor = &files[ANCHOR];
    assert_eq!(anchor.len(), 31);
    let sum = |bytes: &[u8]| bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    assert_eq!((sum(anchor), sum(&anchor[16..])), (0, 0));
    assert_eq!(
        usize::from(u16::from_le_bytes([anchor[22], anchor[23]])),
        files[TABLES].len()
    );
    assert_eq!(
        usize::from(u16::from_le_bytes([anchor[28], anchor[29]])),
        structures.len()
    );
}
