//! What a person types on a terminal, as keys of a keyboard with the US layout.

use synthetic_input::keyboard::Stroke;

/// One key, by its make code of scan code set 1, with what is held down meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Without E0h, which `extended` stands for.
    pub code: u8,
    /// One of the keys that came with the 101-key keyboard.
    pub extended: bool,
    /// Shift (2Ah) or control (1Dh).
    pub with: Option<u8>,
}

impl Key {
    /// The key and what is held down meanwhile, pressed and released.
    pub fn strokes(self) -> Vec<Stroke> {
        let held = self.with.into_iter().map(|code| (code, false));
        let keys: Vec<_> = held.chain([(self.code, self.extended)]).collect();
        let stroke = |(code, extended), down| Stroke {
            code,
            extended,
            down,
        };
        let pressed = keys.iter().map(|key| stroke(*key, true));
        let released = keys.iter().rev().map(|key| stroke(*key, false));
        pressed.chain(released).collect()
    }
}

const SHIFT: u8 = 0x2a;
const CONTROL: u8 = 0x1d;
const ESCAPE_KEY: u8 = 1;

/// The rows of keys that type something: the code of the first, plain and shifted.
const ROWS: [(u8, &str, &str); 5] = [
    (0x02, "1234567890-=", "!@#$%^&*()_+"),
    (0x10, "qwertyuiop[]", "QWERTYUIOP{}"),
    (0x1e, "asdfghjkl;'`", "ASDFGHJKL:\"~"),
    (0x2b, "\\zxcvbnm,./", "|ZXCVBNM<>?"),
    (0x39, " ", " "),
];

/// What terminals send for keys that type nothing, behind ESC [ or ESC O.
const SEQUENCES: [(&[u8], u8); 14] = [
    (b"A", 0x48),
    (b"B", 0x50),
    (b"C", 0x4d),
    (b"D", 0x4b),
    (b"H", 0x47),
    (b"F", 0x4f),
    (b"2~", 0x52),
    (b"3~", 0x53),
    (b"5~", 0x49),
    (b"6~", 0x51),
    (b"P", 0x3b),
    (b"Q", 0x3c),
    (b"R", 0x3d),
    (b"S", 0x3e),
];
/// The function keys among them have no E0h.
const FUNCTION_KEYS: std::ops::RangeInclusive<u8> = 0x3b..=0x3e;

/// The first key of `bytes`, and how many of them it takes. Bytes that no key types are passed over.
pub fn first_key(bytes: &[u8]) -> (Option<Key>, usize) {
    let plain = |code| Key {
        code,
        extended: false,
        with: None,
    };
    match bytes {
        [] => (None, 0),
        [0x1b, b'[' | b'O', rest @ ..] => SEQUENCES
            .iter()
            .find(|(sequence, _)| rest.starts_with(sequence))
            .map_or((Some(plain(ESCAPE_KEY)), 1), |(sequence, code)| {
                let key = Key {
                    extended: !FUNCTION_KEYS.contains(code),
                    ..plain(*code)
                };
                (Some(key), 2 + sequence.len())
            }),
        [byte, ..] => (typed(*byte), 1),
    }
}

fn typed(byte: u8) -> Option<Key> {
    let key = |code, with| {
        Some(Key {
            code,
            extended: false,
            with,
        })
    };
    match byte {
        b'\r' | b'\n' => key(0x1c, None),
        b'\t' => key(0x0f, None),
        8 | 0x7f => key(0x0e, None),
        0x1b => key(ESCAPE_KEY, None),
        1..=26 => typed(byte + b'a' - 1).map(|key| Key {
            with: Some(CONTROL),
            ..key
        }),
        _ => ROWS.iter().find_map(|(first, plain, shifted)| {
            let at = |row: &str| row.bytes().position(|typed| typed == byte);
            let (place, with) = match (at(plain), at(shifted)) {
                (Some(place), _) => (place, None),
                (None, Some(place)) => (place, Some(SHIFT)),
                (None, None) => return None,
            };
            key(first + place as u8, with)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_printable_character_has_its_key() {
        for byte in b' '..=b'~' {
            assert!(typed(byte).is_some(), "{}", char::from(byte));
        }
        let codes = |text: &str| -> Vec<(u8, Option<u8>)> {
            text.bytes()
                .filter_map(typed)
                .map(|key| (key.code, key.with))
                .collect()
        };
        // The ends of each row, as the scan code set has them.
        assert_eq!(
            codes("1=q]a`\\/ "),
            [2, 13, 0x10, 0x1b, 0x1e, 0x29, 0x2b, 0x35, 0x39].map(|code| (code, None))
        );
        assert_eq!(
            codes("!+Q}A~|?"),
            [2, 13, 0x10, 0x1b, 0x1e, 0x29, 0x2b, 0x35].map(|code| (code, Some(SHIFT)))
        );
        assert_eq!(codes("\x03\r"), [(0x2e, Some(CONTROL)), (0x1c, None)]);
    }

    #[test]
    fn what_is_held_down_goes_down_first_and_comes_up_last() {
        let strokes = typed(b'A').map(Key::strokes).unwrap_or_default();
        let seen: Vec<_> = strokes.iter().map(|s| (s.code, s.down)).collect();
        assert_eq!(
            seen,
            [(SHIFT, true), (0x1e, true), (0x1e, false), (SHIFT, false)]
        );
    }

    #[test]
    fn sequences_are_one_key_and_an_escape_alone_is_one_too() {
        let (key, taken) = first_key(b"\x1b[3~x");
        assert_eq!(
            (key.map(|key| (key.code, key.extended)), taken),
            (Some((0x53, true)), 4)
        );
        let (key, taken) = first_key(b"\x1bOPx");
        assert_eq!(
            (key.map(|key| (key.code, key.extended)), taken),
            (Some((0x3b, false)), 3)
        );
        let (key, taken) = first_key(b"\x1b[?");
        assert_eq!((key.map(|key| key.code), taken), (Some(1), 1));
        assert_eq!(first_key(&[0xc3]), (None, 1));
        assert_eq!(first_key(&[]), (None, 0));
    }
}
