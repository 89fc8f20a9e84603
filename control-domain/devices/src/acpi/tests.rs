use super::*;
use crate::table_loader::interpreter;
use std::process::Command;

const BASE: u64 = 0x7fff_0000;

type ByName = BTreeMap<String, Vec<u8>>;

const MACHINE: Machine = Machine {
    processor_count: 2,
    low_memory_end: 0x4000_0000,
    high_memory_end: 1 << 32,
    generation_id: *b"0123456789abcdef",
    tpm: false,
    hibernation: false,
};

/// The tables of a Generation 1 machine as an operating system sees them, by signature.
fn placed() -> (ByName, Vec<u8>) {
    let (tables, rsdp, _) = place(generation_1::files(MACHINE));
    (tables, rsdp)
}

/// And where the generation identifier's file is.
fn place(files: ByName) -> (ByName, Vec<u8>, (u64, Vec<u8>)) {
    let placed = interpreter::run(&files[LOADER], &files, BASE);
    let (base, memory) = &placed[TABLES];
    let rsdp = placed[RSDP].1.clone();
    let table = |address: u64| {
        let start = (address - base) as usize;
        let length =
            u32::from_le_bytes(memory[start + 4..start + 8].try_into().expect("four")) as usize;
        memory[start..start + length].to_vec()
    };
    let xsdt = table(u64::from_le_bytes(rsdp[24..32].try_into().expect("eight")));
    let rsdt = table(u32::from_le_bytes(rsdp[16..20].try_into().expect("four")).into());
    let mut found = BTreeMap::new();
    for (wide, narrow) in xsdt[36..].chunks(8).zip(rsdt[36..].chunks(4)) {
        assert_eq!(wide[..4], narrow[..], "RSDT and XSDT agree");
        let content = table(u64::from_le_bytes(wide.try_into().expect("eight")));
        found.insert(String::from_utf8_lossy(&content[..4]).into_owned(), content);
    }
    let fadt = &found["FACP"];
    let dsdt = table(u32::from_le_bytes(fadt[40..44].try_into().expect("four")).into());
    assert_eq!(
        dsdt,
        table(u64::from_le_bytes(
            fadt[140..148].try_into().expect("eight")
        ))
    );
    let facs = table(u32::from_le_bytes(fadt[36..40].try_into().expect("four")).into());
    assert_eq!(&facs[..4], b"FACS");
    found.insert("DSDT".into(), dsdt);
    found.insert("XSDT".into(), xsdt);
    found.insert("RSDT".into(), rsdt);
    (found, rsdp, placed[generation_id::FILE].clone())
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

#[test]
fn loader_connects_the_tables_and_every_checksum_holds() {
    let (tables, rsdp) = placed();
    assert_eq!((sum(&rsdp[..20]), sum(&rsdp)), (0, 0));
    let names: Vec<_> = tables.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["APIC", "DSDT", "FACP", "RSDT", "SSDT", "WAET", "XSDT"]
    );
    for (name, table) in tables {
        assert_eq!(sum(&table), 0, "{name}");
    }
}

#[test]
fn fields_lie_where_the_specification_says() {
    let (tables, _) = placed();
    let fadt = &tables["FACP"];
    assert_eq!(fadt.len(), 276);
    assert_eq!(
        (fadt[46], fadt[48], fadt[52], fadt[53]),
        (9, 0xb2, 0xf1, 0xf0)
    );
    let word = |at: usize| u32::from_le_bytes(fadt[at..at + 4].try_into().expect("four"));
    assert_eq!(
        (word(56), word(64), word(76), word(80)),
        (0x600, 0x604, 0x608, 0x60c)
    );
    assert_eq!(fadt[88..94], [4, 2, 0, 4, 4, 0]);
    assert_eq!(fadt[108], 0x32);
    assert_eq!(
        (fadt[116], fadt[120], fadt[128]),
        (1, 0xf9, 6),
        "reset register"
    );
    assert_eq!(tables["WAET"][36..], [3, 0, 0, 0]);
    let madt = &tables["APIC"];
    assert_eq!(madt[44..52], [0, 8, 0, 0, 1, 0, 0, 0]);
    assert_eq!(madt[60..72], [1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]);
}

/// The bytes of the device of this name, or as many as there may be behind it.
fn device<'a>(table: &'a [u8], name: &[u8]) -> &'a [u8] {
    // ACPI 6.4 §20.2.4, §20.2.5.2: 5Bh 82h, the length of what follows, the name.
    let starts = table.windows(2).enumerate();
    let mut starts = starts.filter_map(|(at, bytes)| (bytes == [0x5b, 0x82]).then_some(at + 2));
    let found = starts.find_map(|at| {
        let more = usize::from(table[at] >> 6);
        let length = match more {
            0 => usize::from(table[at] & 0x3f),
            _ => (0..more).fold(usize::from(table[at] & 0xf), |length, n| {
                length | usize::from(table[at + 1 + n]) << (4 + 8 * n)
            }),
        };
        let inside = &table[at + 1 + more..at + length];
        inside.starts_with(name).then_some(inside)
    });
    found.expect("a device")
}

#[test]
fn vmbus_lies_below_what_has_memory_for_its_devices() {
    let (generation_1, _) = placed();
    let root = device(&generation_1["DSDT"], b"PCI0");
    device(device(root, b"ISA_"), b"VMBS");
    let (generation_2, ..) = place(generation_2::files(MACHINE));
    device(device(&generation_2["DSDT"], b"VMOD"), b"VMBS");
}

#[test]
fn generation_2_has_the_shape_of_hyper_vs() {
    let (tables, ..) = place(generation_2::files(MACHINE));
    let fadt = &tables["FACP"];
    let word = |at: usize| u32::from_le_bytes(fadt[at..at + 4].try_into().expect("four"));
    assert_eq!((fadt[46], word(48), fadt[52]), (9, 0, 0), "always on");
    assert_eq!((word(56), word(64), word(76)), (0x400, 0x404, 0x408));
    assert_eq!(fadt[109..111], [4, 0], "no VGA, no 8042");
    assert_eq!((fadt[116], word(120), fadt[128]), (1, 0x433, 1));
    assert_eq!(tables["APIC"][40..44], [0; 4], "no 8259s");
    let has = |name: &[u8]| {
        tables["DSDT"]
            .windows(name.len())
            .any(|bytes| bytes == name)
    };
    assert!(has(b"VMOD") && has(b"ACPI0004") && has(b"VMBus"));
    // EISA identifiers of a PCI root, of a keyboard, of an 8254.
    for absent in [0x030a_d041u32, 0x0303_d041, 0x0001_d041] {
        assert!(!has(&absent.to_le_bytes()), "{absent:#x}");
    }
    for (name, table) in &tables {
        assert_eq!(sum(table), 0, "{name}");
    }
}

#[test]
fn the_generation_identifier_is_where_its_device_says() {
    let (tables, _, (base, file)) = place(generation_1::files(MACHINE));
    let ssdt = &tables["SSDT"];
    // Name (VGIA, Package (2) { low, 0 })
    assert_eq!(ssdt[36..45], [8, b'V', b'G', b'I', b'A', 0x12, 8, 2, 0x0c]);
    let low = u32::from_le_bytes(ssdt[45..49].try_into().expect("four"));
    assert_eq!(ssdt[49], 0);
    let offset = (u64::from(low) - base) as usize;
    assert_eq!((base % 4096, offset % 8), (0, 0));
    assert_eq!(file[offset..offset + 16], *b"0123456789abcdef");
}

/// Intel's compiler takes every table apart and the DSDT together again, without a complaint.
#[test]
fn tables_pass_the_acpi_compiler() {
    if Command::new("iasl").arg("-v").output().is_err() {
        eprintln!("skipped: iasl is not installed (Debian package acpica-tools)");
        return;
    }
    let folder = std::env::temp_dir().join(format!("entente-acpi-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the tables");
    let second = place(generation_2::files(MACHINE)).0;
    let second = second.into_iter().map(|(name, table)| (name + "2", table));
    for (name, table) in placed().0.into_iter().chain(second) {
        let path = folder.join(format!("{name}.aml"));
        std::fs::write(&path, table).expect("written");
        let run = Command::new("iasl")
            .arg("-d")
            .arg(&path)
            .output()
            .expect("iasl runs");
        let text = String::from_utf8_lossy(&run.stdout).into_owned()
            + &String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{name}: {text}");
        assert!(
            !text.contains("Error") && !text.contains("Warning"),
            "{name}: {text}"
        );
    }
    let run = Command::new("iasl")
        .arg("-vw")
        .arg("3133")
        .arg("-p")
        .arg(folder.join("again"))
        .arg(folder.join("DSDT.dsl"))
        .output();
    let run = run.expect("iasl runs");
    let text =
        String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    assert!(text.contains("0 Errors, 0 Warnings"), "{text}");
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn a_tpm_has_a_table_and_a_device() {
    let (without, ..) = place(generation_2::files(MACHINE));
    assert!(!without.contains_key("TPM2"));
    let (with, ..) = place(generation_2::files(Machine {
        tpm: true,
        ..MACHINE
    }));
    let table = &with["TPM2"];
    // TCG ACPI Specification, table 10: the control area, then the start method.
    assert_eq!(table[40..48], 0xfed4_0040u64.to_le_bytes());
    assert_eq!((table.len(), table[48], sum(table)), (64, 7, 0));
    assert!(with["DSDT"].windows(8).any(|bytes| bytes == b"MSFT0101"));
}

#[test]
fn hibernation_is_told_where_it_is_wanted() {
    for hibernation in [false, true] {
        let machine = Machine {
            hibernation,
            ..MACHINE
        };
        for files in [generation_1::files(machine), generation_2::files(machine)] {
            let (tables, ..) = place(files);
            // ACPI 6.4 §20.2.5.1, §20.2.5.4: a name, a package of four, and 1 is what turns it off.
            let s4 = b"\x08\\_S4_\x12\x06\x04\x01\x01\x00\x00";
            let told = tables["DSDT"].windows(s4.len()).any(|bytes| bytes == s4);
            assert_eq!(told, hibernation);
        }
    }
}
