//! What a guest tells when it crashes (TLFS, guest crash enlightenment): five parameters whose meaning
//! is the system's own, and often a message in its memory.

use crate::memory::BusMemory;

/// Control register: parameters 3 and 4 are the address and the length of a message.
const MESSAGE: u64 = 1 << 62;
/// A longer message is cut.
const MOST_MESSAGE_BYTES: u64 = 4096;

/// The report of processor `index`, line by line; `words` are the parameters and the control
/// register. Nothing that the guest says can reach beyond its line.
pub fn report(index: usize, words: [u64; 6], memory: &BusMemory) -> Vec<String> {
    let [.., address, length, control] = words;
    let parameters: Vec<_> = words.iter().map(|word| format!("{word:#x}")).collect();
    let mut lines = vec![format!(
        "guest crash: processor {index}: {}",
        parameters.join(" ")
    )];
    if control & MESSAGE != 0 {
        let mut text = vec![0; length.min(MOST_MESSAGE_BYTES) as usize];
        match memory.0.read(address, &mut text) {
            Ok(()) => lines.extend(message(&text)),
            Err(_) => lines.push(format!("guest crash: no message at {address:#x}")),
        }
    }
    lines
}

fn message(text: &[u8]) -> impl Iterator<Item = String> {
    let lines = text.split(|byte| *byte == b'\n' || *byte == 0);
    lines.filter(|line| !line.is_empty()).map(|line| {
        let printable = line.iter().map(|byte| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '.',
        });
        format!("guest crash: | {}", printable.collect::<String>())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use guest_memory::{GuestMemory, Layout, Mapping, Range};
    use std::sync::Arc;

    fn memory() -> BusMemory {
        let mut layout = Layout::default();
        let all = Range {
            gpa: 0,
            length: 0x10_0000,
            offset: 0,
        };
        layout.add(all).unwrap();
        let mapping = Mapping::anonymous(2 << 20).unwrap();
        BusMemory(Arc::new(GuestMemory::new(mapping, layout).unwrap()))
    }

    #[test]
    fn a_message_is_shown_line_by_line_and_can_do_nothing_to_a_terminal() {
        let memory = memory();
        let text = b"<0>Kernel panic\n\n\x1b[2Jend";
        memory.0.write(0x5000, text).unwrap();
        let words = [1, 2, 3, 0x5000, text.len() as u64, 3 << 62];
        let expected = [
            "guest crash: processor 1: 0x1 0x2 0x3 0x5000 0x18 0xc000000000000000",
            "guest crash: | <0>Kernel panic",
            "guest crash: | .[2Jend",
        ];
        assert_eq!(report(1, words, &memory), expected);
    }

    #[test]
    fn without_a_message_there_are_parameters_alone() {
        let words = [1, 2, 3, 0x5000, 8, 1 << 63];
        assert_eq!(report(0, words, &memory()).len(), 1);
    }

    #[test]
    fn a_message_that_is_nowhere_or_endless_is_no_trouble() {
        for (address, length) in [(u64::MAX, 8), (0x10_0000, 1), (0xf_f000, u64::MAX)] {
            let words = [0, 0, 0, address, length, MESSAGE];
            let lines = report(0, words, &memory());
            assert!(lines.len() <= 2, "{lines:?}");
        }
    }
}
