//! Sizes as people write and read them: powers of 1024.

const UNITS: [(char, u32); 4] = [('T', 40), ('G', 30), ('M', 20), ('K', 10)];

/// Bytes of "512", "512M", "40G", "40GiB" or "2t".
///
/// # Errors
/// What is wrong with it, in a line.
pub fn parse(word: &str) -> Result<u64, String> {
    let digits = word.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match word[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => Some(0),
        unit => {
            let letter = unit.chars().next();
            let rest = unit.get(1..).unwrap_or("-");
            let known = UNITS.iter().find(|(c, _)| Some(*c) == letter);
            known
                .filter(|_| matches!(rest, "" | "B" | "IB"))
                .map(|(_, shift)| *shift)
        }
    };
    let number = digits.parse::<u64>().ok();
    number
        .zip(shift)
        .and_then(|(number, shift)| number.checked_mul(1 << shift))
        .ok_or_else(|| format!("{word:?} is not a size such as 40G, 512M or 1048576"))
}

/// "40 GiB" where that is exact, "39.6 GiB" where it is not.
pub fn format(bytes: u64) -> String {
    let unit = UNITS.iter().find(|(_, shift)| bytes >= 1 << shift);
    match unit {
        None => format!("{bytes} bytes"),
        Some((unit, shift)) if bytes.is_multiple_of(1 << shift) => {
            format!("{} {unit}iB", bytes >> shift)
        }
        Some((unit, shift)) => format!("{:.1} {unit}iB", bytes as f64 / (1u64 << shift) as f64),
    }
}

/// "40 GiB (42949672960 bytes)"
pub fn exact(bytes: u64) -> String {
    match bytes {
        0..1024 => format(bytes),
        _ => format!("{} ({bytes} bytes)", format(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (word, bytes) in [
            ("512", 512),
            ("1k", 1024),
            ("512M", 512 << 20),
            ("40G", 40 << 30),
            ("40GiB", 40 << 30),
            ("2TB", 2 << 40),
            ("7b", 7),
        ] {
            assert_eq!(parse(word), Ok(bytes), "{word}");
        }
        for word in [
            "",
            "G",
            "-1",
            "1.5G",
            "4x",
            "4Gx",
            "99999999999T",
            "4 G",
            "1GG",
            "1é",
        ] {
            assert!(parse(word).is_err(), "{word}");
        }
        assert_eq!(format(40 << 30), "40 GiB");
        assert_eq!(format(1536), "1.5 KiB");
        assert_eq!(exact(512), "512 bytes");
    }
}
