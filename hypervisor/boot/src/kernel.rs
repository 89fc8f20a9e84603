//! The control domain's kernel: a bzImage (Linux `Documentation/arch/x86/boot.rst`).

use crate::bytes;

/// Why a kernel can't be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelError {
    /// The setup header is not there or cut off.
    NotAKernel,
    /// The boot protocol is older than 2.12.
    TooOld {
        /// Version found: major in bits 15:8, minor in 7:0.
        version: u16,
    },
    /// No 64-bit entry point, or not relocatable.
    NotRelocatable64,
    /// The command line is longer than this kernel takes.
    CommandLineTooLong {
        /// Longest command line in bytes, without its end.
        limit: u32,
    },
}

impl core::fmt::Display for KernelError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotAKernel => f.write_str("section .linux holds no bzImage"),
            Self::TooOld { version } => {
                write!(
                    f,
                    "section .linux: boot protocol {}.{} is older than 2.12",
                    version >> 8,
                    version & 255
                )
            }
            Self::NotRelocatable64 => f.write_str("section .linux: no relocatable 64-bit kernel"),
            Self::CommandLineTooLong { limit } => {
                write!(f, "section .cmdline is longer than {limit} bytes")
            }
        }?;
        f.write_str("; build the image with a stock 64-bit kernel")
    }
}

/// A parsed bzImage.
#[derive(Clone, Copy, Debug)]
pub struct Kernel<'a> {
    /// The setup header: file offsets 0x1f1 up to its own end.
    pub setup_header: &'a [u8],
    /// What is copied to the load address: everything behind the setup sectors.
    pub code: &'a [u8],
    /// Memory in bytes, from the load address on, that the kernel needs before it knows its memory.
    pub init_size: u64,
    /// Alignment in bytes of the load address.
    pub alignment: u64,
    /// Longest command line in bytes, without its end.
    pub command_line_limit: u32,
}

/// File offset at which the setup header starts, in the file and in the boot parameters alike.
pub const SETUP_HEADER: usize = 0x1f1;

/// Offset of the 64-bit entry point from the load address.
pub const ENTRY_64: u64 = 0x200;

impl<'a> Kernel<'a> {
    /// Reads the header of `file`.
    pub fn parse(file: &'a [u8]) -> Result<Self, KernelError> {
        Self::read(file).ok_or(KernelError::NotAKernel)?
    }

    fn read(file: &'a [u8]) -> Option<Result<Self, KernelError>> {
        if bytes::u16(file, 0x1fe)? != 0xaa55 || bytes::array::<4>(file, 0x202)? != *b"HdrS" {
            return None;
        }
        let version = bytes::u16(file, 0x206)?;
        if version < 0x020c {
            return Some(Err(KernelError::TooOld { version }));
        }
        let xloadflags = bytes::u16(file, 0x236)?;
        // Bit 0: has the 64-bit entry point; bit 1: may lie above 4 GiB.
        if *file.get(0x234)? == 0 || xloadflags & 3 != 3 {
            return Some(Err(KernelError::NotRelocatable64));
        }
        let header_end = 0x202 + usize::from(*file.get(0x201)?);
        let setup_sectors = match *file.get(SETUP_HEADER)? {
            0 => 4,
            n => usize::from(n),
        };
        let code = file.get((1 + setup_sectors) * 512..)?;
        let init_size = bytes::u32(file, 0x260)?.into();
        let alignment = bytes::u32(file, 0x230)?;
        if !alignment.is_power_of_two() || code.len() as u64 > init_size {
            return None;
        }
        Some(Ok(Self {
            setup_header: file.get(SETUP_HEADER..header_end)?,
            code,
            init_size,
            alignment: u64::from(alignment).max(2 << 20),
            command_line_limit: bytes::u32(file, 0x238)?,
        }))
    }

    /// Refuses a command line that this kernel would cut off.
    pub fn check_command_line(&self, command_line: &str) -> Result<(), KernelError> {
        let limit = self.command_line_limit;
        if command_line.len() > limit as usize {
            Err(KernelError::CommandLineTooLong { limit })
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::vec::Vec;

    pub(crate) fn file() -> Vec<u8> {
        let mut file = std::vec![0; 0x4000];
        for (offset, value) in [
            (SETUP_HEADER, &[3u8][..]),
            (0x1fe, &[0x55, 0xaa]),
            (0x201, &[0x6a]),
            (0x202, b"HdrS"),
            (0x206, &[0x0f, 2]),
            (0x230, &0x20_0000u32.to_le_bytes()),
            (0x234, &[1]),
            (0x236, &[0x3f]),
            (0x238, &2047u32.to_le_bytes()),
            (0x260, &0x300_0000u32.to_le_bytes()),
        ] {
            bytes::put(&mut file, offset, value).unwrap();
        }
        file
    }

    #[test]
    fn reads_the_header() {
        let file = file();
        let kernel = Kernel::parse(&file).unwrap();
        assert_eq!(kernel.code.len(), 0x4000 - 2048);
        assert_eq!(kernel.setup_header.len(), 0x202 + 0x6a - 0x1f1);
        assert_eq!((kernel.init_size, kernel.alignment), (0x300_0000, 2 << 20));
        assert!(kernel.check_command_line("quiet").is_ok());
        let long: std::string::String = core::iter::repeat_n('x', 2048).collect();
        assert_eq!(
            kernel.check_command_line(&long),
            Err(KernelError::CommandLineTooLong { limit: 2047 })
        );
    }

    #[test]
    fn refuses_old_and_foreign_files() {
        let mut old = file();
        old[0x206] = 0x0b;
        assert_eq!(
            Kernel::parse(&old).unwrap_err(),
            KernelError::TooOld { version: 0x20b }
        );
        let mut fixed = file();
        fixed[0x234] = 0;
        assert_eq!(
            Kernel::parse(&fixed).unwrap_err(),
            KernelError::NotRelocatable64
        );
        let file = file();
        for length in 0..2048 {
            assert_eq!(
                Kernel::parse(&file[..length]).unwrap_err(),
                KernelError::NotAKernel
            );
        }
    }
}
