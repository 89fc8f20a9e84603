//! The patterns of `modules.alias`: `*`, `?` and `[…]` as in fnmatch(3) without special cases.

/// Whether the whole of `text` matches `pattern`. Takes time in the product of both lengths at
/// most: one `*` is tried further only until the next one is reached.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to go on when a match behind the last `*` fails: that `*` swallows one byte more.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            star = Some((p, t));
            continue;
        }
        match (
            text.get(t),
            match_one(&pattern[p.min(pattern.len())..], text.get(t).copied()),
        ) {
            (None, _) if p == pattern.len() => return true,
            (Some(_), Some(length)) => {
                p += length;
                t += 1;
                continue;
            }
            _ => {}
        }
        let Some((after_star, swallowed)) = star else {
            return false;
        };
        if swallowed >= text.len() {
            return false;
        }
        p = after_star;
        t = swallowed + 1;
        star = Some((p, t));
    }
}

/// Length of the first element of `pattern` if it matches `byte`.
fn match_one(pattern: &[u8], byte: Option<u8>) -> Option<usize> {
    let byte = byte?;
    match pattern.first()? {
        b'?' => Some(1),
        b'[' => {
            let end = pattern.iter().skip(2).position(|&b| b == b']')? + 2;
            class_contains(&pattern[1..end], byte).then_some(end + 1)
        }
        &literal => (literal == byte).then_some(1),
    }
}

/// Whether the inside of `[…]` names `byte`.
fn class_contains(class: &[u8], byte: u8) -> bool {
    let (negated, mut rest) = match class {
        [b'!' | b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut found = false;
    while let [first, after @ ..] = rest {
        if let [b'-', last, after @ ..] = after {
            found |= (*first..=*last).contains(&byte);
            rest = after;
        } else {
            found |= *first == byte;
            rest = after;
        }
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn device_aliases_match() {
        let ahci = "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01";
        assert!(matches("pci:v*d*sv*sd*bc01sc06i01*", ahci));
        assert!(matches("pci:v00008086d00002922sv*sd*bc*sc*i*", ahci));
        assert!(!matches("pci:v00008086d00002923sv*sd*bc*sc*i*", ahci));
        assert!(matches("virtio:d00000002v*", "virtio:d00000002v00001AF4"));
        assert!(matches("dax:t*", "dax:t0"));
        assert!(matches("platform:hmem_platform*", "platform:hmem_platform"));
        assert!(matches(
            "usb:v05ACp*d*dc*dsc*dp*ic[0-9A-F]*",
            "usb:v05ACp1d2dc0dsc0dp0icE0"
        ));
    }

    #[test]
    fn stars_backtrack() {
        assert!(matches("*ab", "aab"));
        assert!(matches("a*b*c", "axxbyybzzc"));
        assert!(!matches("a*b*c", "axxbyybzz"));
        assert!(matches("*", ""));
        assert!(matches("**", "x"));
    }

    #[test]
    fn classes_and_single_bytes() {
        assert!(matches("a?c", "abc"));
        assert!(!matches("a?c", "ac"));
        assert!(matches("[a-c][!a-c]", "bd"));
        assert!(!matches("[a-c]", "d"));
        assert!(matches("[]]", "]"));
    }

    #[test]
    fn both_ends_count() {
        assert!(!matches("abc", "abcd"));
        assert!(!matches("abcd", "abc"));
        assert!(!matches("", "a"));
        assert!(matches("", ""));
    }

    #[test]
    fn broken_patterns_match_nothing() {
        for pattern in ["[", "[a", "[]", "a["] {
            assert!(!matches(pattern, "a"), "{pattern}");
        }
    }

    #[test]
    fn long_texts_are_bounded() {
        let text = "a".repeat(20_000);
        assert!(!matches("*a*a*a*a*a*b", &text));
    }
}
