//! The script by which firmware places tables: `etc/table-loader`.
//!
//! Only firmware knows where memory is free, so tables hold offsets into their file, and the script
//! says which file goes where, at which places the file's address is to be added, and which
//! checksums are to be made afterwards.
//! Source: QEMU's specification of the linker/loader interface.

const ENTRY_BYTES: usize = 128;
const NAME_BYTES: usize = 56;

const ALLOCATE: u32 = 1;
const ADD_POINTER: u32 = 2;
const ADD_CHECKSUM: u32 = 3;

/// Where a file may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    /// Anywhere below 4 GiB.
    High = 1,
    /// From F0000h to FFFFFh, where operating systems search.
    BiosSegment = 2,
}

/// The script.
#[derive(Debug, Default)]
pub struct TableLoader {
    bytes: Vec<u8>,
}

impl TableLoader {
    fn entry(&mut self, command: u32, fields: &[&[u8]]) {
        let start = self.bytes.len();
        self.bytes.extend(command.to_le_bytes());
        for field in fields {
            self.bytes.extend(*field);
        }
        self.bytes.resize(start + ENTRY_BYTES, 0);
    }

    /// Loads `file` at a multiple of `alignment`, a power of two.
    pub fn allocate(&mut self, file: &str, alignment: u32, zone: Zone) {
        self.entry(
            ALLOCATE,
            &[&name(file), &alignment.to_le_bytes(), &[zone as u8]],
        );
    }

    /// Adds the address of `target` to the `size` bytes at `offset` of `file`.
    pub fn add_pointer(&mut self, file: &str, offset: u32, size: u8, target: &str) {
        self.entry(
            ADD_POINTER,
            &[&name(file), &name(target), &offset.to_le_bytes(), &[size]],
        );
    }

    /// Makes the sum of `length` bytes from `start` on zero, by the byte at `offset`, in `file`.
    pub fn add_checksum(&mut self, file: &str, offset: u32, start: u32, length: u32) {
        self.entry(
            ADD_CHECKSUM,
            &[
                &name(file),
                &offset.to_le_bytes(),
                &start.to_le_bytes(),
                &length.to_le_bytes(),
            ],
        );
    }

    /// The content of the file.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

fn name(file: &str) -> [u8; NAME_BYTES] {
    let mut field = [0; NAME_BYTES];
    for (byte, letter) in field[..NAME_BYTES - 1].iter_mut().zip(file.bytes()) {
        *byte = letter;
    }
    field
}

#[cfg(test)]
pub mod interpreter {
    //! Firmware's side, for tests.

    use std::collections::BTreeMap;

    /// Runs `script` over `files`, with the first file at `base`; answers the placed files.
    pub fn run(
        script: &[u8],
        files: &BTreeMap<String, Vec<u8>>,
        base: u64,
    ) -> BTreeMap<String, (u64, Vec<u8>)> {
        let mut placed: BTreeMap<String, (u64, Vec<u8>)> = BTreeMap::new();
        let mut next = base;
        for entry in script.chunks(super::ENTRY_BYTES) {
            let word = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().expect("four"));
            let name = |at: usize| {
                let field = &entry[at..at + super::NAME_BYTES];
                let end = field
                    .iter()
                    .position(|byte| *byte == 0)
                    .expect("terminated");
                String::from_utf8(field[..end].to_vec()).expect("ASCII")
            };
            match word(0) {
                super::ALLOCATE => {
                    let alignment = u64::from(word(60));
                    let at = next.next_multiple_of(alignment);
                    let content = files[&name(4)].clone();
                    next = at + content.len() as u64;
                    placed.insert(name(4), (at, content));
                }
                super::ADD_POINTER => {
                    let target = placed[&name(60)].0;
                    let (at, size) = (word(116) as usize, usize::from(entry[120]));
                    let field = &mut placed.get_mut(&name(4)).expect("placed").1[at..at + size];
                    let mut value = [0; 8];
                    value[..size].copy_from_slice(field);
                    let value = (u64::from_le_bytes(value) + target).to_le_bytes();
                    field.copy_from_slice(&value[..size]);
                }
                super::ADD_CHECKSUM => {
                    let content = &mut placed.get_mut(&name(4)).expect("placed").1;
                    let (at, start, length) =
                        (word(60) as usize, word(64) as usize, word(68) as usize);
                    let sum = content[start..start + length]
                        .iter()
                        .fold(0u8, |sum, byte| sum.wrapping_add(*byte));
                    content[at] = content[at].wrapping_sub(sum);
                }
                command => panic!("unknown command {command}"),
            }
        }
        placed
    }
}
