//! What an emulator says itself: complaints to show, and violations that fail a run.

/// Marks of a line in which Bochs names an entry that failed its checks, or a field of a control
/// structure that it does not have. Its SVM has no prefix but the instruction's name.
const VIOLATIONS: [&str; 7] = [
    "VMFAIL",
    "VMENTER FAIL",
    "VMRUN: ",
    "VMread",
    "VMwrite",
    "SVM: ",
    ">>PANIC<<",
];

/// How Bochs ends when the PC turns itself off; it calls that a panic too.
const TURNED_OFF: [&str; 2] = [
    "ACPI control: soft power off",
    "Shutdown port: shutdown requested",
];

/// The lines of standard error but the warnings of each processor feature that QEMU's software
/// emulation leaves out.
pub fn plain(said: &str) -> Vec<String> {
    said.lines()
        .filter(|line| !line.contains("TCG doesn't support requested feature"))
        .map(str::to_owned)
        .collect()
}

/// The lines of Bochs's log in which a rule of the processor was broken, or Bochs gave up.
///
/// Model-specific registers that it does not know are no violation: the software asks, and gets a
/// general-protection fault as on a PC.
pub fn violations(log: &str) -> Vec<String> {
    log.lines()
        .filter(|line| VIOLATIONS.iter().any(|mark| line.contains(mark)))
        .filter(|line| !TURNED_OFF.iter().any(|end| line.contains(end)))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_off_is_no_violation() {
        let log = "02741e[CPU0  ] RDMSR: Unknown register 0xe8\n\
            04223p[ACPI  ] >>PANIC<< ACPI control: soft power off\n";
        assert!(violations(log).is_empty());
    }

    #[test]
    fn what_an_entry_or_the_emulator_refused_is_one() {
        let lines = [
            "03e[CPU0  ] VMFAIL: VMCS EXEC CTRL: guest VPID == 0",
            "04e[CPU1  ] VMENTER FAIL: VMCS guest invalid CR0",
            "05p[CPU0  ] >>PANIC<< exception(): 3rd (14) exception with no resolution",
        ];
        assert_eq!(violations(&lines.join("\n")), lines);
    }

    #[test]
    fn missing_features_of_qemu_are_not_shown() {
        let said = "warning: TCG doesn't support requested feature: CPUID\nno such file";
        assert_eq!(plain(said), ["no such file"]);
    }
}
