//! The devices' state, for people.

use super::Chipset;

impl Chipset {
    /// Each device's state in words, by its name.
    pub fn inspect(&self) -> Vec<(&'static str, String)> {
        let text = |state: &dyn std::fmt::Debug| format!("{state:?}");
        let [com1, com2] = self.uarts.each_ref().map(|uart| uart.inspect());
        let devices = vec![
            ("interrupts", text(&self.interrupts)),
            ("pit", text(&self.pit)),
            ("rtc", text(&self.rtc)),
            ("i8042", text(&self.i8042)),
            ("com1", com1),
            ("com2", com2),
            ("acpi_pm", text(&self.acpi_pm)),
            ("smbus", text(&self.smbus)),
            ("ide", self.ide.inspect()),
            ("dma", text(&self.dma)),
            ("vga", self.vga.inspect()),
        ];
        let network = self.network.iter().map(|card| ("network", text(card)));
        devices.into_iter().chain(network).collect()
    }
}
