//! The chipsets: the emulated hardware of a machine, register-exact to the data sheets. Generation 1
//! ([`Chipset`]) as far as stock SeaBIOS and operating systems of its era touch it, Generation 2
//! ([`generation_2::Chipset`]) as far as stock OVMF does.
//!
//! A chipset is a value. The vmm hands it every port and memory access of a guest together with
//! the time and the guest's memory, and takes back what became due: messages for the local APICs,
//! requests to reset or power off, changes of the memory layout.
//!
//! What is absent:
//! - no thread, no clock, no file, no socket: time arrives as `now_ns`, disks as [`BlockBackend`],
//!   bytes leave through a [`ByteSink`], frames through a [`FrameSink`];
//! - no unsafe code: guest memory is behind [`GuestMemory`], video memory behind [`VideoMemory`];
//! - no panic on anything that a guest does: an access that no device claims reads as all ones and
//!   writes into the void, as on the bus;
//! - no system management mode.
#![forbid(unsafe_code)]

mod acpi;
mod acpi_pm;
mod block;
mod bus;
mod chipset;
mod cmos;
mod debug_port;
mod dec21140;
mod dma;
mod flash;
mod floppy;
mod fw_cfg;
pub mod generation_2;
mod i8042;
mod ide;
mod interrupts;
mod ioapic;
mod layout;
mod network_boot;
mod pci;
mod pic;
mod pit;
mod port_width;
mod rtc;
mod smbios;
mod smbus;
mod table_loader;
#[cfg(test)]
mod test_memory;
pub mod tpm;
mod uart;
mod vga;
mod virtio;
mod virtio_block;
mod virtio_network;

pub use block::{BlockBackend, BlockError};
pub use bus::{ByteSink, FrameSink, GuestMemory, Message, Outputs, OutsideMemory, VideoMemory};
pub use chipset::{Chipset, Config};
pub use cmos::BootDevice;
pub use dec21140::{NetworkCard, Reception};
pub use flash::FlashMemory;
pub use floppy::Diskette;
pub use ide::{Disc, Drive};
pub use layout::{LOW_MEMORY_LIMIT, Region, Target};
pub use network_boot::NetworkBoot;
pub use vga::{LinearMode, Picture, Vga};
pub use virtio_block::FirmwareDisk;
