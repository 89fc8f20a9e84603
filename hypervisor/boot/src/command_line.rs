//! Our options on the control domain's command line: words `entente.NAME=VALUE`.

/// The value of the option `name` (without its prefix); the last one counts.
pub fn option<'a>(command_line: &'a str, name: &str) -> Option<&'a str> {
    command_line
        .split_ascii_whitespace()
        .filter_map(|word| {
            word.strip_prefix("entente.")?
                .strip_prefix(name)?
                .strip_prefix('=')
        })
        .next_back()
}

/// Whether the recipe wants the control domain to start with nothing under it where the hypervisor
/// can't run (`entente.boot.unable=native`), instead of the firmware going on with what it has next.
pub fn starts_without_hypervisor(command_line: &str) -> bool {
    option(command_line, "boot.unable") == Some("native")
}

/// Whether the kernel guards against what others could learn by timing: its own option
/// `mitigations`, whose last value counts.
pub fn mitigations(command_line: &str) -> bool {
    command_line
        .split_ascii_whitespace()
        .filter_map(|word| word.strip_prefix("mitigations="))
        .next_back()
        != Some("off")
}

/// The text of a `.cmdline` section: up to the first NUL, line ends and blanks trimmed.
pub fn text(section: &[u8]) -> Result<&str, core::str::Utf8Error> {
    let bytes = section.split(|&b| b == 0).next().unwrap_or(&[]);
    core::str::from_utf8(bytes).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_last_exact_option() {
        let line = "quiet entente.pool_mib=64 entente.pool_mib_x=1 entente.pool_mib=128 pool_mib=3";
        assert_eq!(option(line, "pool_mib"), Some("128"));
        assert_eq!(option(line, "pool"), None);
        assert_eq!(option("", "pool_mib"), None);
    }

    #[test]
    fn nothing_starts_without_the_hypervisor_unless_the_recipe_says_so() {
        assert!(!starts_without_hypervisor("quiet"));
        assert!(!starts_without_hypervisor("entente.boot.unable=stop"));
        assert!(starts_without_hypervisor(
            "quiet entente.boot.unable=native"
        ));
    }

    #[test]
    fn mitigations_are_on_unless_switched_off() {
        assert!(mitigations("quiet"));
        assert!(!mitigations("mitigations=off quiet"));
        assert!(mitigations("mitigations=off mitigations=auto,nosmt"));
    }

    #[test]
    fn trims_the_section() {
        assert_eq!(text(b" a b\n\0\0junk").unwrap(), "a b");
        assert_eq!(text(b"").unwrap(), "");
        assert!(text(b"\xff").is_err());
    }
}
