//! A machine's firmware: images of Debian's, as they are, and for UEFI the machine's variables.

use crate::layout::PoolPlan;
use crate::machine_file::{MachineFile, Switch};
use crate::memory::BusMemory;
use crate::variable_store::VariableStore;
use devices::NetworkBoot;
use std::path::{Path, PathBuf};

/// The largest BIOS image.
const MOST_BIOS_BYTES: u64 = 1 << 20;
/// The largest UEFI firmware, variables and code: the I/O APIC and the local APICs end below it.
const MOST_UEFI_BYTES: u64 = 16 << 20;
/// Where the images of the boot disk keep firmware.
const FOLDER: &str = "/usr/share/entente";
/// The variables to begin with: Microsoft's keys among them.
const TEMPLATE: &str = "OVMF_VARS_4M.ms.fd";

/// The firmware.
pub enum Firmware {
    /// SeaBIOS, and SeaVGABIOS for the video adapter.
    Bios {
        /// The BIOS image.
        bios: Vec<u8>,
        /// The VGA BIOS image.
        video: Vec<u8>,
        /// What it starts to boot from the network, where the machine wants that.
        network: Option<NetworkBoot>,
    },
    /// OVMF.
    Uefi {
        /// The code, which lies behind the variables.
        code: Vec<u8>,
        /// The variables.
        store: VariableStore,
    },
}

impl Firmware {
    /// Reads the firmware of the machine in `folder`.
    ///
    /// # Errors
    /// One sentence with a file's name.
    pub fn open(file: &MachineFile, folder: &Path) -> Result<Self, String> {
        let named = file.firmware.as_deref();
        let (firmware, most) = if file.generation == 1 {
            let video = file.video_firmware.as_deref();
            let firmware = Self::Bios {
                bios: read(named, folder, &["bios-256k.bin", "bios.bin"])?,
                video: read(video, folder, &["vgabios-stdvga.bin"])?,
                network: file.boots_from_network().then(network_boot).flatten(),
            };
            (firmware, MOST_BIOS_BYTES)
        } else {
            let template = read(None, folder, &[TEMPLATE])?;
            let code = read(named, folder, &["OVMF_CODE_4M.fd"])?;
            let store = VariableStore::open(folder, &template)?;
            store.set_secure_boot(file.secure_boot != Some(Switch::Off))?;
            let firmware = Self::Uefi { code, store };
            (firmware, MOST_UEFI_BYTES)
        };
        let bytes = firmware.rom_bytes();
        if bytes == 0 || !bytes.is_multiple_of(4096) || bytes > most {
            return Err(format!(
                "the firmware has {bytes} bytes; it must be whole pages, at most {} MiB",
                most >> 20
            ));
        }
        Ok(firmware)
    }

    /// Bytes of the ROM.
    pub fn rom_bytes(&self) -> u64 {
        match self {
            Self::Bios { bios, .. } => bios.len() as u64,
            Self::Uefi { code, store } => u64::from(store.size()) + code.len() as u64,
        }
    }

    /// Puts the ROM into the machine's granules.
    ///
    /// # Errors
    /// One sentence with a file's name.
    pub fn write(&self, memory: &BusMemory, plan: &PoolPlan) -> Result<(), String> {
        let mapping = memory.0.mapping();
        match self {
            Self::Bios { bios, .. } => mapping.write(plan.rom, bios),
            Self::Uefi { code, store } => {
                mapping.write(plan.rom, &store.load()?);
                mapping.write(plan.rom + u64::from(store.size()), code);
            }
        }
        Ok(())
    }
}

/// iPXE and what starts it. An image of the boot disk may lack them: then the machine boots from what else it has.
fn network_boot() -> Option<NetworkBoot> {
    let folder = Path::new(FOLDER);
    let boot = read(None, folder, &["linuxboot_dma.bin"]).and_then(|rom| {
        let loader = read(None, folder, &["ipxe.lkrn"])?;
        NetworkBoot::new(rom, loader).map_err(str::to_owned)
    });
    boot.inspect_err(|error| eprintln!("entente-vmm: no boot from the network: {error}"))
        .ok()
}

/// The image that was named, relative to the machine's folder, or the first of the usual ones.
fn read(named: Option<&Path>, folder: &Path, usual: &[&str]) -> Result<Vec<u8>, String> {
    let candidates: Vec<PathBuf> = match named {
        Some(path) => vec![folder.join(path)],
        None => usual
            .iter()
            .map(|name| Path::new(FOLDER).join(name))
            .collect(),
    };
    let found = candidates
        .iter()
        .find(|path| path.exists())
        .unwrap_or(&candidates[0]);
    std::fs::read(found).map_err(|e| format!("{}: {e}", found.display()))
}
